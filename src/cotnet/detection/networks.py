"""Faster, Mask, Cascade and Cascade Mask R-CNN on any feature pyramid, from torchvision's parts.

Faster R-CNN: arXiv 1506.01497; Mask R-CNN: arXiv 1703.06870; Cascade R-CNN: arXiv 1712.00726. Heads, anchors and sizes
are those of the CoTNet paper's experiments (arXiv 2107.12292).
"""

import difflib
import inspect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from cotnet.detection.cascade import BOX_WEIGHTS, AgnosticPredictor, CascadeRoIHeads
from cotnet.detection.pyramid import Norm, PyramidBackbone, create_body, norm_layer

DETECTORS = ("faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn")
ANCHOR_SIZES = ((32,), (64,), (128,), (256,), (512,))
ASPECT_RATIOS = (0.5, 1.0, 2.0)
_HIDDEN, _BOX_SIZE, _MASK_SIZE = 1024, 7, 14
# Arguments that create_detector sets, or takes by themselves.
_FIXED = {"self", "detector", "backbone", "num_classes", "box_roi_pool", "box_head", "box_predictor"}
_FIXED |= {"rpn_anchor_generator", "rpn_head"}
# The cascade has overlaps and weights of its own for each stage.
_PLAIN_ONLY = {"box_fg_iou_thresh", "box_bg_iou_thresh", "bbox_reg_weights"}


class PyramidRCNN(FasterRCNN):
    """Faster R-CNN whose detections in an image do not depend on the other images of the batch.

    A batch is padded to its largest image, and norms over a map and CoTNet's global pooling see the padding. In eval
    mode images of different sizes therefore go through the network one size at a time.
    """

    def forward(
        self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses by name in training mode, detections of each image in eval mode; as of torchvision's detectors."""
        by_size: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            by_size[tuple(image.shape[-2:])].append(index)
        if self.training or len(by_size) < 2:
            return super().forward(images, targets)
        detections: list[dict[str, Tensor]] = [{} for _ in images]
        for indices in by_size.values():
            for index, found in zip(indices, super().forward([images[i] for i in indices]), strict=True):
                detections[index] = found
        return detections


def create_detector(
    detector: str,
    backbone: str | nn.Module,
    *,
    num_classes: int,
    norm: Norm = "batch",
    channels: int = 256,
    frozen: int = 0,
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
        frozen: The number of first parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2, which
            suits a body with trained weights.
        frozen_norm: Freeze every BatchNorm of the body.
        min_size: Shorter side of an image in pixels. Of several, training takes any and evaluation the last.
        max_size: Maximum of the longer side in pixels.
        anchor_sizes: Sides of the anchors in pixels, for each of the five maps.
        backbone_options: Further arguments of the network, such as ``pretrained_cfg_overlay``.
        options: Further arguments of torchvision's ``FasterRCNN``. ``box_detections_per_img`` is the most detections in
            an image, 100 by default; ``box_score_thresh`` the minimum score of a detection, 0.05 by default.

    Raises:
        ValueError: A name or an option is unknown, or an option is outside its range.
    """
    if detector not in DETECTORS:
        raise ValueError(f"unknown detector {detector!r}; use one of {', '.join(DETECTORS)}")
    if num_classes < 1:
        raise ValueError(f"a detector needs at least one class of objects, got {num_classes=}")
    _check_options(detector, options)
    if isinstance(backbone, str):
        body = create_body(backbone, **(backbone_options or {}))
        backbone = PyramidBackbone(body, channels, norm=norm, frozen=frozen, frozen_norm=frozen_norm)
    width: Any = backbone.out_channels
    model = PyramidRCNN(
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


def detection_limits(network: Any) -> tuple[int, float]:
    """The most detections in an image, and the minimum score of a detection.

    Args:
        network: A detector of `create_detector`.
    """
    return network.roi_heads.detections_per_img, network.roi_heads.score_thresh


def set_detection_limits(
    network: Any, *, box_detections_per_img: int | None = None, box_score_thresh: float | None = None
) -> None:
    """Change the limits of a trained detector.

    Args:
        network: A detector of `create_detector`.
        box_detections_per_img: The most detections in an image; None leaves it. The second stage sees no more
            proposals than the first one gives, so that limit rises with it.
        box_score_thresh: The minimum score of a detection; None leaves it.

    Raises:
        ValueError: A number is outside its range.
    """
    if box_detections_per_img is not None:
        if box_detections_per_img < 1:
            raise ValueError(f"box_detections_per_img must be at least 1, got {box_detections_per_img}")
        network.roi_heads.detections_per_img = box_detections_per_img
        for limits in (network.rpn._pre_nms_top_n, network.rpn._post_nms_top_n):
            limits["testing"] = max(limits["testing"], box_detections_per_img)
    if box_score_thresh is not None:
        if not 0 <= box_score_thresh < 1:
            raise ValueError(f"box_score_thresh must be at least 0 and below 1, got {box_score_thresh}")
        network.roi_heads.score_thresh = box_score_thresh


def _check_options(detector: str, options: dict[str, Any]) -> None:
    """Refuse what torchvision would ignore without a word."""
    known = {
        name
        for function in (FasterRCNN.__init__, GeneralizedRCNNTransform.__init__, create_detector)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    } - _FIXED
    if detector.startswith("cascade"):
        known -= _PLAIN_ONLY
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise ValueError(f"{detector} has no option {name!r}; {hint}")


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
