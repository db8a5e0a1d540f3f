"""Faster, Mask, Cascade and Cascade Mask R-CNN on any feature pyramid, from torchvision's parts.

Faster R-CNN: arXiv 1506.01497; Mask R-CNN: arXiv 1703.06870; Cascade R-CNN: arXiv 1712.00726. Heads, anchors and sizes
are those of the CoTNet paper's experiments (arXiv 2107.12292).
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from cotnet.detection.cascade import BOX_WEIGHTS, AgnosticPredictor, CascadeRoIHeads
from cotnet.detection.pyramid import Norm, PyramidBackbone, create_body, norm_layer

DETECTORS = ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn")
ANCHOR_SIZES = ((32,), (64,), (128,), (256,), (512,))
ASPECT_RATIOS = (0.5, 1.0, 2.0)
_HIDDEN, _BOX_SIZE, _MASK_SIZE = 1024, 7, 14


def create_detector(
    detector: str,
    backbone: str | nn.Module,
    *,
    num_classes: int,
    norm: Norm = "batch",
    channels: int = 256,
    frozen: int = 2,
    frozen_norm: bool = False,
    min_size: int | Sequence[int] = 800,
    max_size: int = 1333,
    anchor_sizes: Sequence[Sequence[int]] = ANCHOR_SIZES,
    backbone_options: dict[str, Any] | None = None,
    **options: Any,
) -> GeneralizedRCNN:
    """A detector with torchvision's interface: a list of images [3, H, W] in, a dict of losses or detections out.

    Args:
        detector: ``"faster_rcnn"``, ``"mask_rcnn"``, ``"cascade_rcnn"`` or ``"cascade_mask_rcnn"``.
        backbone: Name of a network in timm's registry, or a module that returns a dict of maps of one width
            ``out_channels``, five of them with strides 4 to 64.
        num_classes: Number of classes, without the background, which is class 0.
        norm: Normalisation in pyramid and heads: ``"batch"``, ``"group"`` or ``"none"``. Where the trainer synchronises
            BatchNorm, `torch.nn.SyncBatchNorm` replaces ``"batch"``.
        channels: Width of the pyramid and of the heads' convolutions.
        frozen: The number of first parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2.
        frozen_norm: Freeze every BatchNorm of the body.
        min_size: Shorter side of an image in pixels. Of several, training takes any and evaluation the last.
        max_size: Maximum of the longer side in pixels.
        anchor_sizes: Sides of the anchors in pixels, for each of the five maps.
        backbone_options: Further arguments of the network, such as ``pretrained_cfg_overlay``.
        options: Further arguments of torchvision's ``FasterRCNN``, such as ``box_detections_per_img``.

    Raises:
        ValueError: A name is unknown, or an option is outside its range.
    """
    if detector not in DETECTORS:
        raise ValueError(f"unknown detector {detector!r}; use one of {', '.join(DETECTORS)}")
    if num_classes < 1:
        raise ValueError(f"a detector needs at least one class of objects, got {num_classes=}")
    if isinstance(backbone, str):
        body = create_body(backbone, **(backbone_options or {}))
        backbone = PyramidBackbone(body, channels, norm=norm, frozen=frozen, frozen_norm=frozen_norm)
    width: Any = backbone.out_channels
    model = FasterRCNN(
        backbone,
        min_size=min_size,
        max_size=max_size,
        rpn_anchor_generator=AnchorGenerator(tuple(map(tuple, anchor_sizes)), (ASPECT_RATIOS,) * len(anchor_sizes)),
        rpn_head=RPNHead(width, len(ASPECT_RATIOS)),
        box_roi_pool=_roi_align(_BOX_SIZE),
        box_head=_box_head(width, norm),
        box_predictor=FastRCNNPredictor(_HIDDEN, num_classes + 1),
        **options,
    )
    if detector.startswith("cascade"):
        model.roi_heads = _cascade(model.roi_heads, width, num_classes + 1, norm)
    if "mask" in detector:
        _add_masks(model.roi_heads, width, num_classes + 1, norm)
    return model


def _cascade(plain: Any, width: int, classes: int, norm: Norm) -> CascadeRoIHeads:
    stages = range(len(BOX_WEIGHTS))
    return CascadeRoIHeads(
        [_box_head(width, norm) for _ in stages],
        [AgnosticPredictor(_HIDDEN, classes) for _ in stages],
        box_roi_pool=plain.box_roi_pool,
        batch_size_per_image=plain.fg_bg_sampler.batch_size_per_image,
        positive_fraction=plain.fg_bg_sampler.positive_fraction,
        score_thresh=plain.score_thresh,
        nms_thresh=plain.nms_thresh,
        detections_per_img=plain.detections_per_img,
    )


def _add_masks(heads: Any, width: int, classes: int, norm: Norm) -> None:
    heads.mask_roi_pool = _roi_align(_MASK_SIZE)
    heads.mask_head = MaskRCNNHeads(width, (width,) * 4, 1, norm_layer=norm_layer(norm))
    heads.mask_predictor = MaskRCNNPredictor(width, width, classes)


def _box_head(width: int, norm: Norm) -> nn.Module:
    return FastRCNNConvFCHead((width, _BOX_SIZE, _BOX_SIZE), [width] * 4, [_HIDDEN], norm_layer=norm_layer(norm))


def _roi_align(size: int) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=size, sampling_ratio=2)
