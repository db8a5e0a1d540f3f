"""Knowledge distillation (Hinton et al. 2015): a trained network of timm as the teacher of a smaller one."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.nn import functional

from cotnet.files.safe_load import why_unreadable
from cotnet.models.family import check_name

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Distillation:
    """A teacher and how much it counts.

    Attributes:
        teacher: Its name in timm's registry.
        weights: Its weights: a file of tensors (``.pth``, ``.safetensors``), or such a file inside an installed package
            as ``PACKAGE/FOLDER/FILE``. Entries of other names are taken in order where all shapes agree.
        size: Side in pixels of the images that it sees; None for the size in timm's configuration of it.
        classes: Its output for each class of the data. With None, an equal number of classes means the same classes,
            and an ImageNet teacher's outputs are found by the data's WordNet ids.
        weight: Share of the teacher in the loss; the labels have the rest.
        temperature: Divides both networks' logits; the loss is multiplied by its square.
    """

    teacher: str
    weights: str
    size: int | None = None
    classes: list[int] | None = None
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"model.distillation.weight must be above 0 and at most 1, got {self.weight}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"model.distillation.temperature must be above 0, got {self.temperature}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"model.distillation.size must be at least 1, got {self.size}")

    def loss(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Divergence of a student's softened answers [N, classes] from the teacher's, times the squared temperature."""
        target = functional.log_softmax(_exact(teacher_logits) / self.temperature, 1)
        log_probs = functional.log_softmax(_exact(logits) / self.temperature, 1)
        return functional.kl_div(log_probs, target, reduction="batchmean", log_target=True) * self.temperature**2


class Teacher:
    """A frozen network that classifies the student's input images into the student's classes.

    It is no module, so that its weights are neither trained, nor averaged, nor saved.

    Args:
        distillation: Which network, and how it is used.
        preprocessing: Of the student's images, in timm's terms.
        num_classes: Number of the student's classes.
        synsets: The WordNet id of each class, where the data knows them.

    Raises:
        ValueError: The network, its weights or its classes do not fit.
    """

    def __init__(
        self,
        distillation: Distillation,
        preprocessing: dict[str, Any],
        num_classes: int,
        synsets: Sequence[str] | None = None,
    ) -> None:
        check_name(distillation.teacher)
        self.network = timm.create_model(distillation.teacher)
        load_teacher_weights(self.network, find_weights(distillation.weights))
        self.network.eval().requires_grad_(False)
        cfg = timm.get_pretrained_cfg(distillation.teacher)
        assert cfg is not None
        self.size = distillation.size or cfg.input_size[-1]
        teacher_classes: Any = self.network.num_classes
        self.outputs = _outputs(distillation, teacher_classes, num_classes, synsets)
        mean, std = (torch.tensor(preprocessing[key]) for key in ("mean", "std"))
        teacher_mean, teacher_std = torch.tensor(cfg.mean), torch.tensor(cfg.std)
        self.scale = (std / teacher_std).view(1, 3, 1, 1)
        self.shift = ((mean - teacher_mean) / teacher_std).view(1, 3, 1, 1)
        self._check_size(distillation)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Teacher":
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits [N, classes of the student] of the student's normalised images [N, 3, H, W], in their precision."""
        self.network.to(images)
        exact = _exact(images)  # also because PyTorch cannot resize in 16 bits on a CPU
        inputs = exact * self.scale.to(exact) + self.shift.to(exact)
        if inputs.shape[-1] != self.size:
            inputs = functional.interpolate(inputs, (self.size, self.size), mode="bicubic", antialias=True)
        logits = self.network(inputs.to(images).contiguous(memory_format=torch.channels_last))
        return logits if self.outputs is None else logits[:, self.outputs]

    def _check_size(self, distillation: Distillation) -> None:
        """Refuse a size that the network does not take, as vision transformers take one only.

        By shapes alone: nothing is computed.
        """
        try:
            copy.deepcopy(self.network).to("meta")(torch.empty(1, 3, self.size, self.size, device="meta"))
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the teacher {distillation.teacher} cannot take images of {self.size} pixels ({reason}); change "
                "--model.distillation.size, or leave it out for the size that the teacher was trained with"
            ) from error


def _exact(values: Tensor) -> Tensor:
    """In 32 bits, or in 64 where they have 64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def find_weights(name: str) -> Path:
    """The file of a path, or of ``PACKAGE/FOLDER/FILE`` inside an installed package.

    Raises:
        ValueError: There is neither.
    """
    if Path(name).is_file():
        return Path(name)
    package, *inside = Path(name).parts
    spec = find_spec(package) if inside and package.isidentifier() else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, *inside)
        if file.is_file() and file.resolve().is_relative_to(Path(folder).resolve()):
            return file
    raise ValueError(f"model.distillation.weights {name!r} is no file, neither by itself nor in an installed package")


def load_teacher_weights(network: nn.Module, path: Path) -> None:
    """Load tensors into a network, by name, or in order where the names differ and every shape agrees.

    Nothing in the file is executed.

    Raises:
        ValueError: The file is damaged or hostile, or does not fit.
    """
    try:
        entries = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error}") from error
    # A damaged or hostile pickle can raise anything.
    except Exception as error:
        raise ValueError(f"cannot read {str(path)!r}: {why_unreadable(path, error)}") from error
    if isinstance(entries, dict) and isinstance(entries.get("state_dict"), dict):
        entries = entries["state_dict"]
    if not isinstance(entries, dict) or not all(isinstance(value, Tensor) for value in entries.values()):
        raise ValueError(f"{str(path)!r} holds no named tensors")
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: value for name, value in entries.items() if not name.endswith(_COUNTER)}
    if given.keys() != wanted.keys():
        given = dict(zip(wanted, given.values(), strict=False)) if len(given) == len(wanted) else {}
    wrong = next((name for name in wanted if name not in given or given[name].shape != wanted[name].shape), None)
    if wrong is not None:
        raise ValueError(f"{str(path)!r} does not fit the teacher {type(network).__name__}: see its entry {wrong}")
    network.load_state_dict(given, strict=False)


def _outputs(
    distillation: Distillation, teacher_classes: int, num_classes: int, synsets: Sequence[str] | None
) -> list[int] | None:
    """The teacher's output for each class of the student, None where they are the same."""
    if distillation.classes is not None:
        outputs = distillation.classes
        if len(outputs) != num_classes or not all(0 <= one < teacher_classes for one in outputs):
            raise ValueError(
                f"model.distillation.classes must give one of the teacher's {teacher_classes} outputs for each of "
                f"{num_classes} classes, got {len(outputs)} from {min(outputs, default=0)} to {max(outputs, default=0)}"
            )
        return outputs
    if teacher_classes == num_classes:
        return None
    if synsets is not None and teacher_classes == 1000:
        known = {synset: index for index, synset in enumerate(ImageNetInfo().label_names())}
        if all(synset in known for synset in synsets):
            return [known[synset] for synset in synsets]
    raise ValueError(
        f"the teacher {distillation.teacher} has {teacher_classes} classes, the data {num_classes}, and they are not "
        "known by WordNet ids; give the teacher's output for each class as --model.distillation.classes"
    )
