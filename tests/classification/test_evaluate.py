"""Scores against counting by hand."""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader

from cotnet.classification.evaluate import evaluate

# Logits of seven classes; the network is the identity.
LOGITS = torch.eye(7)[torch.tensor([0, 0, 1, 2, 3, 3])] + torch.linspace(0, 0.1, 7)
LABELS = [0, 1, 1, 2, 3, 0]
CLASSES = list("abcdefg")


def _loader(labels):
    return DataLoader([(x, label) for x, label in zip(LOGITS, labels, strict=True)], batch_size=4)


def test_scores():
    scores = evaluate(nn.Identity(), _loader(LABELS), classes=CLASSES)
    assert math.isclose(scores.top1, 4 / 6, rel_tol=1e-6)
    # The five likeliest are the first choice, then classes 6, 5, 4, 3: classes 1 and 0 are not among them.
    assert math.isclose(scores.top5, 4 / 6, rel_tol=1e-6)
    assert scores.per_class[:4] == [0.5, 0.5, 1, 1]
    assert all(map(math.isnan, scores.per_class[4:]))
    assert (scores.images, scores.images_per_s > 0) == (6, True)


def test_outputs_in_another_order():
    outputs = [6, 5, 4, 3, 2, 1, 0]
    relabelled = [outputs.index(label) for label in LABELS]
    expected = evaluate(nn.Identity(), _loader(LABELS), classes=CLASSES)
    scores = evaluate(nn.Identity(), _loader(relabelled), classes=CLASSES, outputs=outputs)
    assert (scores.top1, scores.top5, scores.per_class[:4]) == (expected.top1, expected.top5, expected.per_class[:4])
