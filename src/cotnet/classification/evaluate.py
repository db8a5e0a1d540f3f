"""Accuracy of a trained network over labelled images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from cotnet.classification.predict import ClassificationModel
from cotnet.data.open import open_data, open_recorded
from cotnet.prediction.formatting import plain
from cotnet.prediction.trainer import quiet_trainer

_NAME_THEM = "name the images: cotnet validate WEIGHTS DATA"


@dataclass(frozen=True)
class Scores:
    """Accuracies as fractions of 1; as text, they are the table of `cotnet validate`.

    Attributes:
        top1: Share of the images whose likeliest class is right.
        top5: Share of the images whose class is among the five likeliest.
        per_class: Top-1 accuracy over the images of each class; NaN where a class has none.
        images: Number of images.
        images_per_s: Images per second, decoding and network together.
        class_names: Names of the classes.
    """

    top1: float
    top5: float
    per_class: list[float]
    images: int
    images_per_s: float
    class_names: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        per_class = {name: plain(x) for name, x in zip(self.class_names, self.per_class, strict=True)}
        values = {key: value for key, value in vars(self).items() if key != "class_names"}
        return {**values, "per_class": per_class}

    def __str__(self) -> str:
        width = max(map(len, self.class_names), default=0)
        rows = [f"{name:{width}}  {x:6.1%}" for name, x in zip(self.class_names, self.per_class, strict=True)]
        summary = f"top-1 {self.top1:.2%}  top-5 {self.top5:.2%}  {self.images} images"
        return "\n".join([*rows, "", f"{summary}  {self.images_per_s:.1f} images/s"])


def validate(
    model: ClassificationModel,
    data: str | None = None,
    *,
    batch_size: int | None = None,
    num_workers: int = 0,
    match_by_name: bool = True,
) -> Scores:
    """Score a classifier on labelled images, over the processes that torchrun started.

    Args:
        model: The classifier.
        data: What `cotnet.data.open.open_data` takes; by default the images that the weights record.
        batch_size: Images at a time; default 64.
        num_workers: Processes that decode.
        match_by_name: The classes of weights and data are the same by name; otherwise by number alone, if the names
            differ.

    Raises:
        ValueError: The data cannot be used, or has other classes.
    """
    p = model.card.preprocessing
    options: dict[str, Any] = {
        "size": p["input_size"][-1],
        "batch_size": batch_size or 64,
        "num_workers": num_workers,
        "mean": tuple(p["mean"]),
        "std": tuple(p["std"]),
        "interpolation": p["interpolation"],
        "crop_pct": p["crop_pct"],
    }
    if data is not None:
        module = open_data(data, class_names=model.class_names, **options)
        module.setup("validate")
        names = module.class_names
    else:
        try:
            module = open_recorded(model.card.data, **options)
            module.setup("validate")
            names = module.class_names
        except ValueError as error:
            raise ValueError(f"{error}; {_NAME_THEM}") from error
    outputs = match_classes(model.class_names, names, by_name=match_by_name)
    return evaluate(model.network, module, classes=model.class_names, outputs=outputs)


def match_classes(known: list[str], present: list[str], *, by_name: bool = True) -> list[int] | None:
    """The weights' output for each class of the data, None where their order is the same.

    Args:
        known: Class names of the weights.
        present: Class names of the data.
        by_name: They must be the same; otherwise equally many classes are matched by their number.

    Raises:
        ValueError: The classes differ.
    """
    if known == present or (not by_name and len(known) == len(present)):
        return None
    if sorted(known) == sorted(present) and len(set(known)) == len(known):
        return [known.index(name) for name in present]
    only = {"the weights know": set(known) - set(present), "the data has": set(present) - set(known)}
    differences = "".join(f"; only {side} {_listed(names)}" for side, names in only.items() if names)
    raise ValueError(f"the weights have {len(known)} classes, the data {len(present)}{differences}")


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def evaluate(
    network: nn.Module,
    images: DataLoader[tuple[Tensor, Tensor]] | LightningDataModule,
    *,
    classes: Sequence[str],
    outputs: Sequence[int] | None = None,
) -> Scores:
    """Score a network on batches of (images [N, 3, H, W], labels [N]), over the processes that torchrun started.

    Args:
        network: [N, 3, H, W] to logits [N, classes].
        images: A loader that serves every image once, or a data module whose loaders do so over all processes.
        classes: Names of the network's classes.
        outputs: The network's output for each label, where their order differs.
    """
    evaluation = _Evaluation(network, len(classes), range(len(classes)) if outputs is None else outputs)
    start = time.perf_counter()
    quiet_trainer().validate(evaluation, images, verbose=False)
    seconds = time.perf_counter() - start
    seen = int(evaluation.counts.sum())
    per_class = torch.where(evaluation.counts > 0, evaluation.right / evaluation.counts, torch.nan)
    return Scores(
        top1=evaluation.top1.compute().item(),
        top5=evaluation.top5.compute().item(),
        per_class=per_class.tolist(),
        images=seen,
        images_per_s=seen / seconds,
        class_names=list(classes),
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
