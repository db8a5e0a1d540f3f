"""The heads of Cascade R-CNN, which torchvision lacks (Cai and Vasconcelos, arXiv 1712.00726).

Three box heads in a row, each trained for a higher overlap on the boxes that the previous one has refined. Legend: R
proposals of all images, K classes with the background as class 0.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference, maskrcnn_loss
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

IOU_THRESHOLDS = (0.5, 0.6, 0.7)
BOX_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))

Targets = list[dict[str, Tensor]]


class AgnosticPredictor(nn.Module):
    """Class scores and one box correction for all classes, from features [R, in_channels].

    Args:
        in_channels: Width of the features.
        num_classes: K, with the background.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[R, in_channels] to logits [R, K] and corrections [R, 4]."""
        return self.cls_score(x), self.bbox_pred(x)


class CascadeRoIHeads(RoIHeads):
    """Box heads in a row and, where there is one, the mask head once on the final boxes.

    It replaces torchvision's `RoIHeads`, and shares its sampling (first stage) and its mask parts. Later stages train
    on all boxes of the previous stage, with labels by their own overlap. At test time the scores are the mean over the
    stages' softmaxes, the boxes those of the last stage.

    Args:
        box_heads: One per stage, from pooled maps to features.
        box_predictors: One per stage, from features to logits [R, K] and class-agnostic corrections [R, 4].
        iou_thresholds: By stage, the minimum overlap with an object of a box that counts as one.
        box_weights: By stage, the scale of the corrections.
        options: Arguments of `RoIHeads`: ``box_roi_pool``, ``batch_size_per_image``, ``positive_fraction``,
            ``score_thresh``, ``nms_thresh``, ``detections_per_img``, ``mask_roi_pool``, ``mask_head``,
            ``mask_predictor``.

    Raises:
        ValueError: The sequences have different lengths.
    """

    def __init__(
        self,
        box_heads: Sequence[nn.Module],
        box_predictors: Sequence[nn.Module],
        *,
        iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
        box_weights: Sequence[tuple[float, float, float, float]] = BOX_WEIGHTS,
        **options: Any,
    ) -> None:
        if not len(box_heads) == len(box_predictors) == len(iou_thresholds) == len(box_weights):
            raise ValueError(
                "expected as many box heads as predictors, IoU thresholds and box weights, "
                f"got {len(box_heads)}, {len(box_predictors)}, {len(iou_thresholds)} and {len(box_weights)}"
            )
        first = iou_thresholds[0]
        super().__init__(
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            fg_iou_thresh=first,
            bg_iou_thresh=first,
            bbox_reg_weights=box_weights[0],
            **options,
        )
        self.matchers = [Matcher(iou, iou, allow_low_quality_matches=False) for iou in iou_thresholds]
        self.coders = [BoxCoder(weights) for weights in box_weights]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Maps and proposals to detections in eval mode, to losses in training mode.

        Args:
            features: Maps [N, C, h, w] by name.
            proposals: Boxes [R_n, 4] of each image, in its pixels.
            image_shapes: Height and width of each image.
            targets: For each image ``boxes`` [M, 4], ``labels`` [M] from 1, and ``masks`` [M, H, W] for a mask head.

        Returns:
            Detections of each image, and losses by name; one of the two is empty.
        """
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets)
        scores = []
        for stage in range(len(self.coders)):
            logits, corrections = self._predict(stage, features, proposals, image_shapes)
            scores.append(logits.softmax(-1))
            proposals = self._refine(stage, corrections, proposals, image_shapes)
        mean = torch.stack(scores).mean(0).split(_counts(proposals))
        results = [self._select(boxes, score) for boxes, score in zip(proposals, mean, strict=True)]
        if self.has_mask():
            pooled = self.mask_roi_pool(features, [result["boxes"] for result in results], image_shapes)
            logits = self.mask_predictor(self.mask_head(pooled))
            masks = maskrcnn_inference(logits, [result["labels"] for result in results])
            for result, mask in zip(results, masks, strict=True):
                result["masks"] = mask
        return results, {}

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets | None,
    ) -> dict[str, Tensor]:
        # The first stage samples as a plain detector does; its boxes also train the mask head.
        proposals, matches, labels, wanted = self.select_training_samples(list(proposals), targets)
        assert targets is not None
        losses = {}
        if self.has_mask():
            losses["loss_mask"] = self._mask_loss(features, proposals, image_shapes, targets, labels, matches)
        for stage in range(len(self.coders)):
            if stage > 0:
                labels, wanted = self._relabel(stage, proposals, targets)
            logits, corrections = self._predict(stage, features, proposals, image_shapes)
            all_labels = torch.cat(labels)
            losses[f"loss_classifier_{stage + 1}"] = F.cross_entropy(logits, all_labels)
            losses[f"loss_box_reg_{stage + 1}"] = box_loss(corrections, torch.cat(list(wanted)), all_labels)
            proposals = self._refine(stage, corrections.detach(), proposals, image_shapes)
        return losses

    def _predict(
        self, stage: int, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        if self.training:
            pooled = _ScaledGradient.apply(pooled, 1 / len(self.coders))
        logits, corrections = self.box_predictor[stage](self.box_head[stage](pooled))
        return logits, corrections

    def _refine(
        self, stage: int, corrections: Tensor, proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> list[Tensor]:
        """The boxes of the next stage, inside their images; in training without those that have no area."""
        refined = self.coders[stage].decode(corrections, proposals).flatten(1).split(_counts(proposals))
        boxes = [clip_boxes_to_image(box, shape) for box, shape in zip(refined, image_shapes, strict=True)]
        if not self.training:
            return boxes
        return [box[remove_small_boxes(box, min_size=1e-2)] for box in boxes]

    def _relabel(self, stage: int, proposals: list[Tensor], targets: Targets) -> tuple[list[Tensor], Sequence[Tensor]]:
        """Labels of the boxes at the overlap of a stage, and the corrections that would make them exact."""
        self.proposal_matcher, first = self.matchers[stage], self.proposal_matcher
        try:
            objects = [target["boxes"].to(boxes.dtype) for target, boxes in zip(targets, proposals, strict=True)]
            matches, labels = self.assign_targets_to_proposals(proposals, objects, [t["labels"] for t in targets])
        finally:
            self.proposal_matcher = first
        matched = [
            boxes[match] if len(boxes) else match.new_zeros((len(match), 4), dtype=boxes.dtype)
            for boxes, match in zip(objects, matches, strict=True)
        ]
        return labels, self.coders[stage].encode(matched, proposals)

    def _mask_loss(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Targets,
        labels: list[Tensor],
        matches: list[Tensor],
    ) -> Tensor:
        positive = [torch.where(label > 0)[0] for label in labels]
        boxes = [box[index] for box, index in zip(proposals, positive, strict=True)]
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        objects = [match[index] for match, index in zip(matches, positive, strict=True)]
        return maskrcnn_loss(logits, boxes, [t["masks"] for t in targets], [t["labels"] for t in targets], objects)

    def _select(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """The best detections of an image from boxes [R, 4] and scores [R, K]."""
        rows, columns = torch.where(scores[:, 1:] > self.score_thresh)
        boxes, labels, scores = boxes[rows], columns + 1, scores[rows, columns + 1]
        keep = remove_small_boxes(boxes, min_size=1e-2)
        boxes, labels, scores = boxes[keep], labels[keep], scores[keep]
        keep = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
        return {"boxes": boxes[keep], "labels": labels[keep], "scores": scores[keep]}


def _counts(boxes: Sequence[Tensor]) -> list[int]:
    return [one.shape[0] for one in boxes]  # unlike `len`, known to a tracer as part of the input


def box_loss(corrections: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
    """Smooth L1 loss of the objects' corrections, as a mean over all boxes; beta is 1/9, as in torchvision.

    Args:
        corrections: Predicted, [R, 4].
        wanted: The true ones, [R, 4].
        labels: Classes [R]; corrections of the background, 0, do not count.
    """
    objects = labels > 0
    total = F.smooth_l1_loss(corrections[objects], wanted[objects], beta=1 / 9, reduction="sum")
    return total / max(len(labels), 1)


class _ScaledGradient(torch.autograd.Function):
    """The identity with a scaled gradient, so that the body gets the mean of the stages' gradients, not their sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None
