"""What a network looks at: the weight fields of its CoT layers, their contexts, and Grad-CAM, as numbers and sheets.

`record` runs images through a network and keeps every field; `entropy` and `direction` sum a field up; `grad_cam`
asks which places speak for a class; `draw_fields`, `draw_contexts` and `draw_grad_cam` make sheets of them.
"""

from cotnet.viz.contexts_sheet import draw_contexts
from cotnet.viz.field import Field, direction, entropy, looks, telling_heads
from cotnet.viz.field_sheet import draw_fields
from cotnet.viz.grad_cam import grad_cam, last_map
from cotnet.viz.grad_cam_sheet import draw_grad_cam
from cotnet.viz.record import cot_layers, record
from cotnet.viz.sheet import SourceImage, short_name

__all__ = [
    "Field",
    "SourceImage",
    "cot_layers",
    "direction",
    "draw_contexts",
    "draw_fields",
    "draw_grad_cam",
    "entropy",
    "grad_cam",
    "last_map",
    "looks",
    "record",
    "short_name",
    "telling_heads",
]
