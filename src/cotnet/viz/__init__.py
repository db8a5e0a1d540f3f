"""What a network looks at: the weight fields of its CoT layers, their contexts, and Grad-CAM, as numbers and sheets.

``view_image`` draws every sheet of an image, as ``cotnet view`` does. Below it, ``record_fields`` runs images through a
network and keeps the weight field of each CoT layer; ``entropy`` and ``mean_offset`` summarise a field; ``grad_cam``
shows where the evidence for a class lies; ``draw_fields``, ``draw_contexts`` and ``draw_grad_cam`` draw one sheet each.
"""

from cotnet.viz.contexts_sheet import draw_contexts
from cotnet.viz.field_sheet import draw_fields
from cotnet.viz.grad_cam import grad_cam, last_feature_map
from cotnet.viz.grad_cam_sheet import draw_grad_cam
from cotnet.viz.record_fields import cot_layers, record_fields
from cotnet.viz.source_image import SourceImage
from cotnet.viz.view import View, select_layers, view_image
from cotnet.viz.weight_field import WeightField, entropy, mean_offset, most_varied_heads, short_name, window_shares

__all__ = [
    "SourceImage",
    "View",
    "WeightField",
    "cot_layers",
    "draw_contexts",
    "draw_fields",
    "draw_grad_cam",
    "entropy",
    "grad_cam",
    "last_feature_map",
    "mean_offset",
    "most_varied_heads",
    "record_fields",
    "select_layers",
    "short_name",
    "view_image",
    "window_shares",
]
