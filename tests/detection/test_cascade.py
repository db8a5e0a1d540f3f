"""The cascade against a plain loop over boxes, written from the paper's description."""

import math

import pytest
import torch
from torch import Tensor, nn

from cotnet.detection import cascade
from cotnet.detection.cascade import BOX_WEIGHTS, IOU_THRESHOLDS, CascadeRoIHeads, box_loss

SHAPE = (60, 80)


class Coordinates(nn.Module):
    """In the place of pooling: each box's own coordinates."""

    def forward(self, features, boxes, shapes):
        return torch.cat(boxes) / 80


def heads(**options) -> CascadeRoIHeads:
    torch.manual_seed(0)
    predictors = [Predictor() for _ in range(3)]
    settings = {"score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": 1000}
    return CascadeRoIHeads(
        [nn.Identity()] * 3,
        predictors,
        box_roi_pool=Coordinates(),
        batch_size_per_image=512,
        positive_fraction=1.0,
        **{**settings, **options},
    )


class Predictor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classes, self.box = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.classes(x), self.box(x)


def boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([60.0, 40.0])
    return torch.cat([corner, corner + 4 + 15 * torch.rand(count, 2, generator=generator)], 1)


def refine(box: list[float], correction: list[float], weights) -> list[float]:
    width, height = box[2] - box[0], box[3] - box[1]
    dx, dy, dw, dh = (value / weight for value, weight in zip(correction, weights, strict=True))
    x, y = box[0] + width / 2 + dx * width, box[1] + height / 2 + dy * height
    limit = math.log(1000 / 16)
    width, height = width * math.exp(min(dw, limit)), height * math.exp(min(dh, limit))
    edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return [min(max(edge, 0.0), SHAPE[1 - i % 2]) for i, edge in enumerate(edges)]


def overlap(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def match(box: list[float], objects: list[list[float]], labels: list[int], threshold: float):
    """The class of a box, and the object that it overlaps most."""
    overlaps = [overlap(box, one) for one in objects]
    best = max(range(len(objects)), key=overlaps.__getitem__)
    return (labels[best] if overlaps[best] >= threshold else 0), objects[best]


def correction_to(box: list[float], target: list[float], weights) -> list[float]:
    """What a predictor would have to say for `refine` to turn a box into the target."""
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = ((target[i] + target[i + 2] - box[i] - box[i + 2]) / 2 for i in (0, 1))
    parts = (
        x / width,
        y / height,
        math.log((target[2] - target[0]) / width),
        math.log((target[3] - target[1]) / height),
    )
    return [part * weight for part, weight in zip(parts, weights, strict=True)]


def smooth_l1(x: float, beta: float = 1 / 9) -> float:
    return 0.5 * x * x / beta if abs(x) < beta else abs(x) - 0.5 * beta


def test_scores_are_averaged_and_boxes_refined_thrice():
    model = heads().eval()
    start = [boxes(7, 1), boxes(5, 2)]
    with torch.no_grad():
        results, _ = model({}, start, [SHAPE, SHAPE])
        for result, proposals in zip(results, start, strict=True):
            current, scores = proposals.tolist(), []
            for predictor, weights in zip(model.box_predictor, BOX_WEIGHTS, strict=True):
                logits, corrections = predictor(torch.tensor(current) / 80)
                scores.append(logits.softmax(1))
                current = [refine(box, c, weights) for box, c in zip(current, corrections.tolist(), strict=True)]
            mean = sum(scores) / 3
            expected = sorted(
                ((float(mean[i, k]), k, box) for i, box in enumerate(current) for k in (1, 2, 3)), reverse=True
            )
            assert len(result["scores"]) == len(expected)
            for i, (score, label, box) in enumerate(expected):
                assert float(result["scores"][i]) == pytest.approx(score, abs=1e-6)
                assert int(result["labels"][i]) == label
                assert result["boxes"][i].tolist() == pytest.approx(box, abs=1e-3)


def test_each_stage_labels_at_its_own_overlap():
    model = heads().train()
    objects, labels = boxes(6, 3), torch.tensor([1, 2, 3, 1, 2, 3])
    targets = [{"boxes": objects, "labels": labels}, {"boxes": objects[:0], "labels": labels[:0]}]
    proposals = [
        objects.repeat(20, 1) + 3 * torch.randn(120, 4, generator=torch.Generator().manual_seed(4)),
        boxes(9, 5),
    ]
    seen = set()
    for stage, threshold in enumerate(IOU_THRESHOLDS):
        found, corrections = model._relabel(stage, proposals, targets)
        assert found[1].tolist() == [0] * 9
        for box, label, correction in zip(proposals[0].tolist(), found[0].tolist(), corrections[0], strict=True):
            expected, target = match(box, objects.tolist(), labels.tolist(), threshold)
            assert label == expected
            if label:
                assert refine(box, correction.tolist(), BOX_WEIGHTS[stage]) == pytest.approx(target, abs=1e-3)
        seen.add(tuple(found[0].tolist()))
    assert len(seen) == 3
    assert model.proposal_matcher.high_threshold == IOU_THRESHOLDS[0]


def test_the_losses_of_a_training_step():
    model = heads().train()
    objects, labels = boxes(4, 6), torch.tensor([1, 2, 3, 1])
    start = objects.repeat(5, 1) + torch.randn(20, 4, generator=torch.Generator().manual_seed(7))
    _, losses = model({}, [start], [SHAPE], [{"boxes": objects, "labels": labels}])
    current = torch.cat([start, objects])  # the objects themselves are proposals, too
    for stage in range(3):
        current = current[torch.minimum(current[:, 2] - current[:, 0], current[:, 3] - current[:, 1]) >= 1e-2]
        expected = [match(box, objects.tolist(), labels.tolist(), IOU_THRESHOLDS[stage]) for box in current.tolist()]
        logits, corrections = model.box_predictor[stage](current / 80)
        loss = -sum(logits.log_softmax(1)[i, label] for i, (label, _) in enumerate(expected)) / len(current)
        assert losses[f"loss_classifier_{stage + 1}"].item() == pytest.approx(loss.item(), rel=1e-5)
        loss = 0.0
        for box, correction, (label, target) in zip(current.tolist(), corrections.tolist(), expected, strict=True):
            wanted = correction_to(box, target, BOX_WEIGHTS[stage])
            loss += sum(smooth_l1(a - b) for a, b in zip(correction, wanted, strict=True)) if label else 0
        assert losses[f"loss_box_reg_{stage + 1}"].item() == pytest.approx(loss / len(current), rel=1e-4)
        rows = zip(current.tolist(), corrections.tolist(), strict=True)
        current = torch.tensor([refine(box, correction, BOX_WEIGHTS[stage]) for box, correction in rows])


def test_box_loss_is_smooth_l1_of_the_objects():
    corrections, wanted = torch.tensor([[0.0, 0.05, 1.0, -2.0], [5.0, 5.0, 5.0, 5.0]]), torch.zeros(2, 4)
    expected = (0.5 * 0.05**2 * 9 + (1 - 0.5 / 9) + (2 - 0.5 / 9)) / 2
    assert box_loss(corrections, wanted, torch.tensor([3, 0])).item() == pytest.approx(expected)


def test_the_gradient_reaches_the_maps_as_a_mean_over_stages(monkeypatch):
    class Pool(nn.Module):
        def forward(self, features, boxes, shapes):
            return features["0"].expand(len(torch.cat(boxes)), 4)

    def gradient() -> Tensor:
        model = heads().train()
        model.box_roi_pool = Pool()
        x = torch.ones(1, 4, requires_grad=True)
        _, losses = model({"0": x}, [boxes(3, 8)], [SHAPE], [{"boxes": boxes(3, 8), "labels": torch.tensor([1, 2, 3])}])
        return torch.autograd.grad(sum(losses.values()), x)[0]

    mean = gradient()
    monkeypatch.setattr(cascade._ScaledGradient, "apply", lambda x, scale: x)
    torch.testing.assert_close(3 * mean, gradient())
    assert mean.abs().sum() > 0


def test_stages_of_different_number_are_refused():
    with pytest.raises(ValueError, match="got 2, 3, 3 and 3"):
        CascadeRoIHeads(
            [nn.Identity()] * 2,
            [nn.Identity()] * 3,
            box_roi_pool=Coordinates(),
            batch_size_per_image=8,
            positive_fraction=0.25,
            score_thresh=0.0,
            nms_thresh=0.5,
            detections_per_img=10,
        )
