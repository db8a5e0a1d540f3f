"""The three groups of fields, ``model``, ``data`` and ``trainer``: the class of each, and its fields as they add up."""

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from timm import is_model

from cotnet.training.field_types import nearest
from cotnet.training.module import TrainingModule
from cotnet.training.recipe import parse_yaml
from cotnet.training.spelling import is_place

# The package's own classes by the names that serve in the place of their paths; the first model is the default.
CLASSES: dict[str, dict[str, str]] = {
    "model": {
        "Classifier": "cotnet.classification",
        "Detector": "cotnet.detection",
        "Segmenter": "cotnet.segmentation",
    },
    "data": {
        **dict.fromkeys(
            ("BundledImages", "CIFAR", "HuggingFace", "ImageFolder", "NpzPack", "WebShards"), "cotnet.data"
        ),
        "CocoData": "cotnet.detection",
    },
}
_BASES: dict[str, type] = {"model": TrainingModule, "data": LightningDataModule}


@dataclass
class Group:
    """The fields of a group so far, and the class that takes them.

    Attributes:
        name: Of the group.
        class_path: Of the class, or its short name; None before one is named.
        values: Field to value.
        inherited: Fields that were given for another class than the present one, which may not have them.
    """

    name: str
    class_path: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    inherited: set[str] = field(default_factory=set)

    def add(self, part: Any) -> None:
        """Put the group of another recipe over this one; a text names the class alone.

        Raises:
            ValueError: It contains no fields, or names something else than a class.
        """
        if isinstance(part, str):
            if not part.startswith("{"):
                self._check_class_name(part)
            part = parse_yaml(part) if part.startswith("{") else {"class_path": part}
        if not isinstance(part, dict):
            raise ValueError(f"{self.name} must contain fields, got {part!r}")
        part = dict(part)
        class_path, given = part.pop("class_path", None), part
        if class_path is not None and self.name not in CLASSES:
            raise ValueError(f"unknown field {self.name}.class_path")
        if class_path is not None or part.keys() == {"init_args"}:
            given = part.pop("init_args", None) or {}
            if part:
                raise ValueError(
                    f"{self.name} has fields beside class_path; the fields of a class belong under init_args"
                )
        if class_path is not None and class_path != self.class_path:
            self.class_path = class_path
            self.inherited |= self.values.keys()
        for name, value in given.items():
            self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        """Set a field; a mapping is put over the one that is there, None takes it away."""
        before = self.values.get(name)
        self.values[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
        self.inherited.discard(name)

    def _check_class_name(self, text: str) -> None:
        if self.name == "model" and is_model(text):
            raise ValueError(f"--model takes a class, but {text} is a network; did you mean --model.name {text}?")
        if self.name != "data" or not is_place(text):
            return
        if text.endswith(".npz"):
            meant = f"--data NpzPack --data.path {text}"
        else:
            takes = inspect.signature(self.kind()).parameters if self.class_path else {}
            field = next((name for name in ("root", "path") if name in takes), None)
            meant = f"--data.{field} {text}" if field else f"cotnet train finetune --data.root {text}"
        raise ValueError(f"--data takes a class, but {text} is a path; did you mean {meant}?")

    def kind(self) -> type:
        """The class that takes the fields.

        Raises:
            ValueError: There is no such class, or it is none for this group.
        """
        if self.name == "trainer":
            return Trainer
        known = CLASSES[self.name]
        path = self.class_path or (next(iter(known)) if self.name == "model" else None)
        if path is None:
            raise ValueError("data.class_path is missing; pass --data CLASS, such as cotnet.data.ImageFolder")
        module, _, name = path.rpartition(".")
        if name in known and module in ("", known[name]):
            module = known[name]
        elif not module or module.startswith("cotnet."):
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"use one of {', '.join(known)}"
            if self.name == "data" and not near and not module:
                hint += f"; for a folder of images --data.root {path}"
            raise ValueError(f"unknown {self.name} class {path!r}; {hint}")
        return _import_class(self.name, module, name)


def _import_class(group: str, module: str, name: str) -> type:
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if module.startswith("cotnet."):
            raise
        raise ValueError(f"{group} cannot be '{module}.{name}': {error}") from error
    base = _BASES[group]
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"{group} cannot be '{module}.{name}': it does not derive from {base.__name__}")
    return kind
