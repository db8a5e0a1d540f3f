"""A timm network, its loss, optimizer and metrics, as a Lightning module."""

import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch
from timm.data import Mixup
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from cotnet.classification.distillation import Distillation, Teacher
from cotnet.classification.duration import long_training
from cotnet.classification.figures import draw_confused
from cotnet.classification.memory import largest_output, memory_bytes
from cotnet.classification.optimizer import cosine_schedule, sgd
from cotnet.classification.report import class_sections
from cotnet.files.weights import WeightsCard
from cotnet.models.family import BODIES, check_name
from cotnet.models.memory_format import to_layout
from cotnet.models.pretrained import classifier_name
from cotnet.models.variants import vary
from cotnet.models.weights_file import WeightsFile
from cotnet.training.distributed import rank_zero_print, shard, sync_norms
from cotnet.training.figures import draw_confusion
from cotnet.training.module import TrainingModule, class_path
from cotnet.training.protocol import TrainingData
from cotnet.training.start import class_names, named_in_order

Batch = tuple[Tensor, Tensor]
# Peak learning rates for 256 images where none is asked for: benchmarks/range_test.py.
_FINETUNE_LR, _RANDOM_LR = 0.02, 0.3


class Classifier(TrainingModule):
    """Trains any timm network to name images.

    Args:
        name: Name in timm's registry.
        num_classes: Number of classes, at least 2.
        kwargs: Further arguments of the network's constructor.
        init_from: Weights to start from: what `cotnet train` wrote, a released ``.pth.tar``, or any file of tensors,
            also one in an installed package, as ``PACKAGE/FOLDER/FILE``.
        keep_classifier: Start from the classifier of these weights even where its classes have other names.
        base_lr: Peak learning rate for 256 images per step; the real one is ``base_lr * global batch / 256``. None for
            0.02 with `init_from`, and 0.3 from random weights.
        momentum: SGD momentum.
        nesterov: Use Nesterov's momentum.
        weight_decay: Weight decay, of parameters of two dimensions and more.
        warmup_epochs: Epochs of linear warm-up.
        warmup_lr: Learning rate at its start.
        final_lr: Learning rate at the end of the cosine.
        label_smoothing: Share of the target spread over all classes.
        mixup: Alpha of mixup, 0 for none.
        cutmix: Alpha of CutMix, 0 for none; with both, each batch gets one of the two.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0.
        ema_decay: Decay of a moving average of weights and buffers, which is then validated and kept; None for none.
        lr_update: Change the learning rate at every ``step``, or once per ``epoch``.
        layer_decay: Factor of the learning rate from one layer to the one before it, for fine-tuning; None for none.
        freeze: Parts of the network that keep their weights and their BatchNorm statistics, such as ``[conv1, bn1,
            layer1]``; None for none.
        distillation: A teacher whose answers are learnt beside the labels; None for none.
        channels_last: Lay the channels of a pixel side by side in memory, the faster way for convolutions.
        compile: Compile the network by `torch.compile`.
        grad_checkpointing: Save memory by computing activations again in the backward pass.

    Raises:
        ValueError: The name is unknown, or a number is outside its range.
    """

    monitor = "val_top1"
    monitor_label = "val top-1"
    columns = ("train_loss", "train_top1", "val_loss", "val_top1", "val_top5")
    panels = (
        ("loss", 1, {"train_loss": "training", "val_loss": "validation"}),
        ("accuracy in %", 100, {"train_top1": "training", "val_top1": "validation", "val_top5": "validation, top 5"}),
    )
    progress = (("train", "train_top1", "{:.1%}"), ("val", "val_top1", "{:.1%}"))
    step_metrics = ("top1",)

    def __init__(
        self,
        name: str,
        *,
        num_classes: int,
        kwargs: dict[str, Any] | None = None,
        init_from: str | None = None,
        keep_classifier: bool = False,
        base_lr: float | None = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 5.0,
        warmup_lr: float = 0.0,
        final_lr: float = 0.0,
        label_smoothing: float = 0.1,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        ema_decay: float | None = None,
        lr_update: Literal["step", "epoch"] = "step",
        layer_decay: float | None = None,
        freeze: list[str] | None = None,
        distillation: Distillation | None = None,
        channels_last: bool = True,
        compile: bool = False,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _check_ranges(
            at_least_0={"momentum": momentum, "weight_decay": weight_decay, "warmup_epochs": warmup_epochs}
            | {"warmup_lr": warmup_lr, "final_lr": final_lr, "mixup": mixup, "cutmix": cutmix},
            below_1={"label_smoothing": label_smoothing, "drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
            | {"ema_decay": ema_decay or 0.0},
            above_0={
                "base_lr": 1.0 if base_lr is None else base_lr,
                "layer_decay": 1.0 if layer_decay is None else layer_decay,
            },
        )
        if num_classes < 2:
            raise ValueError(f"training needs at least two classes, got {num_classes}")
        self.name = name
        self.kwargs = dict(kwargs or {})
        self.keep_classifier = keep_classifier
        self._asked_lr = base_lr
        self.resumed_from(init_from)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.final_lr = final_lr
        self.label_smoothing = label_smoothing
        self.ema_decay = ema_decay
        self.lr_update = lr_update
        self.layer_decay = layer_decay
        self.distillation = distillation
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        network = create_network(
            name, num_classes=num_classes, drop_rate=drop_rate, drop_path_rate=drop_path_rate, **self.kwargs
        )
        self.network = to_layout(network, self.memory_format)
        self.freeze_names = list(freeze or [])
        freeze_parts(self.network, self.freeze_names)
        if grad_checkpointing:
            checkpoint_activations(self.network, name)
        if compile:
            self.network.compile()
        self.mix = (
            Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=label_smoothing, num_classes=num_classes)
            if mixup or cutmix
            else None
        )
        top5 = min(5, num_classes)
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_top5 = MulticlassAccuracy(num_classes, top_k=top5, average="micro")
        self.confusion = MulticlassConfusionMatrix(num_classes)

    def resumed_from(self, init_from: str | None) -> None:
        """Choose the learning rate for a run that starts like this, where none is asked for."""
        super().resumed_from(init_from)
        default = _RANDOM_LR if init_from is None else _FINETUNE_LR
        self.base_lr = default if self._asked_lr is None else self._asked_lr

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, 3, H, W]."""
        return self.network(images.contiguous(memory_format=self.memory_format))

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode of all but the frozen parts: these stay in eval mode, so that BatchNorm keeps its statistics."""
        super().train(mode)
        for name in self.freeze_names:  # by name, because SyncBN puts other modules in their place
            self.network.get_submodule(name).eval()
        return self

    def configure_model(self) -> None:
        """Shard the parameters where the strategy asks for it (FSDP2)."""
        if self.device_mesh is not None:
            if self.ema_decay is not None:
                raise ValueError("a moving average of sharded weights is not supported; leave out --model.ema_decay")
            self.network = sync_norms(self.network, self.trainer.strategy)
            shard(self.network, self.device_mesh)

    def setup(self, stage: str) -> None:
        """Load the teacher, where there is one."""
        super().setup(stage)
        if stage == "fit" and self.distillation is not None:
            assert self.card is not None
            preprocessing, classes = self.card.preprocessing, self.data.num_classes
            self._teacher = Teacher(self.distillation, preprocessing, classes, self.data.synsets)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss and top-1 of one batch."""
        images, labels = batch
        if self.mix is None:
            logits = self(images)
            loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        else:  # the mixed targets are smoothed already
            images, targets = self.mix(images, labels)
            logits = self(images)
            loss = functional.cross_entropy(logits, targets)
            labels = targets.argmax(1)
        if self.distillation is not None:
            divergence = self.distillation.loss(logits, self._teacher(images)).to(loss)
            loss = torch.lerp(loss, divergence, self.distillation.weight)
        self.train_top1.update(logits, labels)
        top1 = (logits.detach().argmax(1) == labels).float().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=len(images))
        self.log("train_top1", self.train_top1, on_step=False, on_epoch=True)
        return {"loss": loss, "top1": top1}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Metrics of one batch."""
        images, labels = batch
        logits = self(images)
        self.val_top1.update(logits, labels)
        self.val_top5.update(logits, labels)
        self.confusion.update(logits, labels)
        loss = functional.cross_entropy(logits, labels)
        self.log("val_loss", loss, on_epoch=True, batch_size=len(images), sync_dist=True)
        self.log("val_top1", self.val_top1, on_epoch=True)
        self.log("val_top5", self.val_top5, on_epoch=True)

    def on_validation_epoch_start(self) -> None:
        """Forget the confusion of the epoch before."""
        self.confusion.reset()

    def on_validation_epoch_end(self) -> None:
        """Count over all devices; every one of them has to take part."""
        self.counts = self.confusion.compute().cpu().numpy()

    def create_optimizer(self) -> tuple[Optimizer, Scheduler]:
        """SGD at the scaled learning rate, and a cosine."""
        lr = self.peak_lr
        processes, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        rank_zero_print(
            f"learning rate {lr:g} = {self.base_lr:g} x {self.global_batch} / 256, for batches of "
            f"{self.global_batch // processes // accumulated} images x {processes} processes x {accumulated} "
            "accumulated"
        )
        optimizer = sgd(
            self.network,
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            layer_decay=self.layer_decay,
        )
        epochs = self.trainer.max_epochs
        assert epochs is not None
        return optimizer, cosine_schedule(
            optimizer,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs,
            warmup_lr=self.warmup_lr,
            final_lr=self.final_lr,
        )

    @property
    def optimizer_fields(self) -> dict[str, Any]:
        return {"freeze": sorted(self.freeze_names), "layer_decay": self.layer_decay}

    def describe(self, data: TrainingData) -> WeightsCard:
        if data.preprocessing is None:
            raise ValueError(
                f"a classifier trains on images of one size with a class each, not on {class_path(data)}; "
                "use --data cotnet.data.ImageFolder or another of cotnet.data"
            )
        return WeightsCard(
            model=self.name,
            kwargs=self.kwargs,
            class_names=data.class_names,
            preprocessing=data.preprocessing,
            data={"class_path": class_path(data), "init_args": data.source},
        )

    def draw(self, folder: Path) -> None:
        """The confusion matrix and its worst pairs."""
        assert self.card is not None
        assert self.counts is not None
        draw_confusion(self.counts, self.card.class_names, folder / "confusion.png")
        draw_confused(self.counts, self.card.class_names, folder / "confused.png")

    def start_from(self, file: WeightsFile) -> None:
        """Start from weights; a classifier of other classes is replaced by a new one, unless it is to be kept."""
        assert self.card is not None
        head = classifier_name(self.network)
        entries = named_in_order(file.entries, self.network, head=head)
        names, wanted = class_names(file), self.card.class_names
        if names is not None and len(names) == len(wanted) and names != wanted and not self.keep_classifier:
            entries = _with_classes(entries, self.network.state_dict(), head, names, wanted)
        self.load_entries(entries)

    def report(self, counts: np.ndarray | None) -> list[str]:
        """Tables of the classes and of the most frequent confusions."""
        assert self.card is not None
        return [] if counts is None else class_sections(counts, self.card.class_names)

    def check_data(self, data: TrainingData) -> None:
        """Run shapes alone through a copy of the network."""
        assert data.preprocessing is not None
        size, batch_size = data.preprocessing["input_size"][-1], data.batch_size
        channels = self.kwargs.get("in_chans", 3)
        if channels != 3:
            raise ValueError(f"images are read in 3 channels: model.kwargs.in_chans must be 3, got {channels}")
        stride = max(info["reduction"] for info in getattr(self.network, "feature_info", [{"reduction": 1}]))
        if size < stride:
            raise ValueError(f"data.size {size} is too small for {self.name}: it needs at least {stride} pixels")
        if self.mix is not None and batch_size % 2:
            raise ValueError(f"mixup and CutMix mix pairs: data.batch_size must be even, got {batch_size}")
        batch = min(batch_size, 2)
        try:
            largest = largest_output(self.network, (batch, 3, size, size)) * batch_size // batch
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{self.name} cannot train on {batch_size} images of {size} pixels at a time ({reason}); "
                "change --data.size or --data.batch_size"
            ) from error
        if 2 * largest > (memory := memory_bytes()):  # even in 16 bits
            raise ValueError(
                f"a single map of {self.name} takes {2 * largest / 2**30:,.0f} GiB for {batch_size} images of {size} "
                f"pixels, this machine has {memory / 2**30:,.0f}; use a smaller --data.size or --data.batch_size"
            )
        trainer = data.trainer
        if trainer is not None and trainer.strategy.root_device.type == "cpu" and trainer.max_epochs:
            images = len(data.train_set) // trainer.world_size
            note = long_training(self.network, self.name, size=size, images=images, epochs=trainer.max_epochs)
            if note is not None:
                rank_zero_print(f"note: {note}")


def create_network(name: str, **kwargs: Any) -> nn.Module:
    """A network of timm's registry, of which this package's names are a part.

    Raises:
        ValueError: The name is unknown, or the network refuses an argument.
    """
    check_name(name)
    try:
        return timm.create_model(name, **kwargs)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise ValueError(f"cannot build {name} with {kwargs}: {error}") from error
        raise ValueError(
            f"{name} does not take an argument {unknown[1]!r}; it takes {', '.join(_arguments(name))}"
        ) from error


def _arguments(name: str) -> list[str]:
    """The names that ``model.kwargs`` can have for a network: its constructor's, except those that are fields."""
    with torch.device("meta"):
        kind = type(timm.create_model(name))
    parts: list[Callable[..., Any]] = [vary, kind] if name in BODIES else [kind]
    names = [one.name for part in parts for one in inspect.signature(part).parameters.values()]
    ours = ("body", "kwargs", "num_classes", "drop_rate", "drop_path_rate")
    return [one for one in names if one not in ours]


def _with_classes(
    entries: dict[str, Tensor], own: dict[str, Tensor], head: str, names: Sequence[str], wanted: Sequence[str]
) -> dict[str, Tensor]:
    """Entries whose classifier is for the wanted classes: reordered where they are the same, else a new one."""
    parts = [name for name in entries if name.startswith(f"{head}.")]
    if sorted(names) == sorted(wanted) and len({*names}) == len(names):
        order = torch.tensor([list(names).index(name) for name in wanted])
        warnings.warn("the weights have the same classes in another order: the classifier is reordered", stacklevel=2)
        return entries | {name: entries[name][order] for name in parts}
    index = next(i for i, (before, now) in enumerate(zip(names, wanted, strict=True)) if before != now)
    warnings.warn(
        f"the weights are for other classes ({names[index]!r} where the data has {wanted[index]!r}): a new classifier "
        "is trained; --model.keep_classifier true keeps theirs",
        stacklevel=2,
    )
    return entries | {name: own[name] for name in parts if name in own}


def freeze_parts(network: nn.Module, names: Sequence[str]) -> None:
    """Take the gradient from the parameters of parts of a network, and put these into eval mode.

    Args:
        network: Any network.
        names: Dotted names of modules in it.

    Raises:
        ValueError: There is no such part, or nothing would be left to train.
    """
    parts = dict(network.named_modules())
    for name in names:
        if not name or name not in parts:
            known = ", ".join(child for child, _ in network.named_children())
            raise ValueError(
                f"model.freeze: the network has no module {name!r}; it has {known}, and modules inside them"
            )
        parts[name].requires_grad_(False).eval()
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("model.freeze leaves nothing to train")


def checkpoint_activations(network: nn.Module, name: str) -> None:
    """Compute activations again in the backward pass.

    Raises:
        ValueError: The network cannot do so.
    """
    try:
        network.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        raise ValueError(f"{name} has no gradient checkpointing; leave out --model.grad_checkpointing") from error


def _check_ranges(*, at_least_0: dict[str, float], below_1: dict[str, float], above_0: dict[str, float]) -> None:
    inf = float("inf")
    for name, value in at_least_0.items():
        if not 0 <= value < inf:
            raise ValueError(f"model.{name} must be at least 0, got {value}")
    for name, value in below_1.items():
        if not 0 <= value < 1:
            raise ValueError(f"model.{name} must be at least 0 and below 1, got {value}")
    for name, value in above_0.items():
        if not 0 < value < inf:
            raise ValueError(f"model.{name} must be above 0, got {value}")
