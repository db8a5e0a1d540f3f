"""Accuracy of a trained network over labelled images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from torchmetrics.classification import MulticlassAccuracy

from cotnet.classification.load import placeholder_names
from cotnet.classification.predict import ClassificationModel
from cotnet.data.open import open_data, open_recorded
from cotnet.files.image import UnreadableImageError
from cotnet.prediction.formatting import distinct, percent, plain
from cotnet.prediction.trainer import quiet_trainer
from cotnet.prediction.transform import decoding_options

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
        unreadable: A sentence for each image that could not be read and is not counted.
        notes: What else is worth knowing of the data.
    """

    top1: float
    top5: float
    per_class: list[float]
    images: int
    images_per_s: float
    class_names: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = distinct(self.class_names)
        per_class = {name: plain(x) for name, x in zip(names, self.per_class, strict=True)}
        values = {key: value for key, value in vars(self).items() if key not in ("class_names", "notes")}
        return {**values, "per_class": per_class}

    def __str__(self) -> str:
        width = max(map(len, self.class_names), default=0)
        rows = [f"{name:{width}}  {percent(x):>6}" for name, x in zip(self.class_names, self.per_class, strict=True)]
        summary = f"top-1 {self.top1:.2%}  top-5 {self.top5:.2%}  {self.images} images"
        return "\n".join([*rows, "", f"{summary}  {self.images_per_s:.1f} images/s"])


def validate(
    model: ClassificationModel,
    data: str | None = None,
    *,
    batch_size: int | None = None,
    num_workers: int = 0,
) -> Scores:
    """Score a classifier on labelled images, over the processes that torchrun started.

    Images that cannot be read are counted apart.

    Args:
        model: The classifier.
        data: What `cotnet.data.open.open_data` takes; by default the images that the weights record.
        batch_size: Images at a time; default 64.
        num_workers: Processes that decode.

    Raises:
        ValueError: The data cannot be used, or has classes that the weights do not know.
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
        **decoding_options(model.card),
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
    known = model.class_names
    if model.card.data or known != placeholder_names(len(known)):
        outputs = match_classes(known, names)
    else:
        outputs = match_unnamed(len(known), names)
    scores = evaluate(model.network, module, classes=known, outputs=outputs)
    absent = set(range(len(known))) - set(range(len(known)) if outputs is None else outputs)
    if absent:
        without = _listed({known[index] for index in absent})
        scores.notes.append(f"the data has {len(names)} of the weights' {len(known)} classes; without {without}")
    return scores


def match_classes(known: list[str], present: list[str]) -> list[int] | None:
    """The weights' output for each class of the data, matched by name; None where all are there in the same order.

    Args:
        known: Class names of the weights.
        present: Class names of the data.

    Raises:
        ValueError: The data has classes that the weights do not know, or names are not unique.
    """
    if known == present:
        return None
    if set(present) <= set(known) and len(set(known)) == len(known) and len(set(present)) == len(present):
        return [known.index(name) for name in present]
    only = {"the weights know": set(known) - set(present), "the data has": set(present) - set(known)}
    differences = "".join(f"; only {side} {_listed(names)}" for side, names in only.items() if names)
    raise ValueError(f"the weights have {len(known)} classes, the data {len(present)}{differences}")


def match_unnamed(count: int, present: list[str]) -> list[int] | None:
    """As `match_classes`, for weights without names: by WordNet id for ImageNet's 1,000 classes, else by number.

    Args:
        count: Number of the weights' classes.
        present: Class names of the data.

    Raises:
        ValueError: The numbers differ.
    """
    if count == len(present):
        return None
    synsets = {synset: index for index, synset in enumerate(ImageNetInfo().label_names())} if count == 1000 else {}
    if all(name in synsets for name in present):
        return [synsets[name] for name in present]
    raise ValueError(
        f"the weights have {count} classes without names, the data {len(present)}; name them: --class-names FILE"
    )


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
        network: From [N, 3, H, W] to logits [N, classes].
        images: A loader that serves every image once, or a data module whose loaders do so over all processes.
        classes: Names of the network's classes.
        outputs: The network's output for each label, where their order differs.
    """
    evaluation = _Evaluation(network, len(classes), range(len(classes)) if outputs is None else outputs)
    trainer = quiet_trainer()
    start = time.perf_counter()
    if isinstance(images, LightningDataModule):
        images.trainer = trainer  # so that it knows the number of processes
        images = images.val_dataloader()
    trainer.validate(evaluation, _tolerant(images), verbose=False)
    seconds = time.perf_counter() - start
    seen = int(evaluation.counts.sum())
    if seen == 0:
        raise ValueError(f"none of the images can be read: {(evaluation.unreadable or ['there are none'])[0]}")
    per_class = torch.where(evaluation.counts > 0, evaluation.right / evaluation.counts, torch.nan)
    return Scores(
        top1=evaluation.top1.compute().item(),
        top5=evaluation.top5.compute().item(),
        per_class=per_class.tolist(),
        images=seen,
        images_per_s=seen / seconds,
        class_names=list(classes),
        unreadable=sorted(evaluation.unreadable),
    )


def _tolerant(loader: Any) -> Any:
    """The loader, but with a sentence in the place of an image that cannot be read, where its images are numbered."""
    if isinstance(loader.dataset, IterableDataset) or loader.batch_size is None:
        return loader
    return DataLoader(
        _Tolerant(loader.dataset),
        batch_size=loader.batch_size,
        sampler=loader.sampler,
        collate_fn=_collate,
        num_workers=loader.num_workers,
        worker_init_fn=loader.worker_init_fn,
        pin_memory=loader.pin_memory,
    )


class _Tolerant(Dataset[Any]):
    def __init__(self, images: Dataset[Any]):
        self.images = images

    def __getitem__(self, index: int) -> Any:
        try:
            return self.images[index]
        except UnreadableImageError as error:
            return str(error)


def _collate(items: list[Any]) -> tuple[Any, Any, list[str]]:
    """Images and labels of those that could be read, and a sentence for each of the others."""
    read = [item for item in items if not isinstance(item, str)]
    images, labels = default_collate(read)[:2] if read else ((), ())
    return images, labels, [item for item in items if isinstance(item, str)]


class _Evaluation(LightningModule):
    def __init__(self, network: nn.Module, classes: int, outputs: Sequence[int]):
        super().__init__()
        self.network = network
        self.top1 = MulticlassAccuracy(classes, average="micro")
        self.top5 = MulticlassAccuracy(classes, average="micro", top_k=min(5, classes))
        self.unreadable: list[str] = []
        self.counts: Tensor
        self.outputs: Tensor
        self.right: Tensor
        self.register_buffer("outputs", torch.tensor(outputs))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("right", torch.zeros(classes, dtype=torch.int64))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.unreadable += batch[2] if len(batch) > 2 else []
        if len(batch[0]) == 0:
            return
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
            parts: list[list[str]] = [[] for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather_object(parts, self.unreadable)
            self.unreadable = [sentence for part in parts for sentence in part]
