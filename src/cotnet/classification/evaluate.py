"""Accuracy of a trained network over labelled images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from cotnet.prediction.trainer import quiet_trainer


@dataclass(frozen=True)
class Scores:
    """Accuracies as fractions of 1.

    Attributes:
        top1: the likeliest class is right.
        top5: the right class is among the five likeliest.
        per_class: top-1 of each class's own images; NaN where a class has none.
        images: number of images.
        images_per_s: decoding and network together.
    """

    top1: float
    top5: float
    per_class: list[float]
    images: int
    images_per_s: float


def evaluate(
    network: nn.Module,
    images: DataLoader[tuple[Tensor, Tensor]] | LightningDataModule,
    *,
    classes: int,
    outputs: Sequence[int] | None = None,
) -> Scores:
    """Validate a network on batches of (images [N, 3, H, W], labels [N]), over the processes that torchrun started.

    Args:
        network: [N, 3, H, W] to logits [N, classes].
        images: a loader that serves every image once, or a data module whose loaders do so over all processes.
        classes: number of classes.
        outputs: the network's output for each label, where their order differs.
    """
    evaluation = _Evaluation(network, classes, range(classes) if outputs is None else outputs)
    start = time.perf_counter()
    quiet_trainer().validate(evaluation, images, verbose=False)
    seconds = time.perf_counter() - start
    seen = int(evaluation.counts.sum())
    per_class = torch.where(evaluation.counts > 0, evaluation.right / evaluation.counts, torch.nan)
    return Scores(
        evaluation.top1.compute().item(),
        evaluation.top5.compute().item(),
        per_class.tolist(),
        seen,
        seen / seconds,
    )


class _Evaluation(LightningModule):
    def __init__(self, network: nn.Module, classes: int, outputs: Sequence[int]):
        super().__init__()
        self.network = network
        self.top1 = MulticlassAccuracy(classes, average="micro")
        self.top5 = MulticlassAccuracy(classes, average="micro", top_k=min(5, classes))
        self.counts: Tensor
        self.outputs: Tensor
        self.right: Tensor
        self.register_buffer("outputs", torch.tensor(outputs))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("right", torch.zeros(classes, dtype=torch.int64))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch[0], self.outputs[batch[1]]
        logits = self.network(images)
        self.top1.update(logits, labels)
        self.top5.update(logits, labels)
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        self.right += torch.bincount(labels[logits.argmax(1) == labels], minlength=len(self.counts))

    def on_validation_epoch_end(self) -> None:
        if self.trainer.world_size > 1:  # torchmetrics does the same for its own
            self.counts, self.right = (
                self.trainer.strategy.reduce(x, reduce_op="sum") for x in (self.counts, self.right)
            )
