"""A study as data: its cases, its seeds, and the recipe that all share."""

import difflib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from timm import create_model
from torch import nn

from cotnet.models.family import check_name


@dataclass(frozen=True)
class Published:
    """What the authors report for a case, in their set-up on ImageNet.

    Attributes:
        top1: In percent.
        parameters_m: Parameters in millions, or None.
        gmacs: Multiply-accumulates in billions, or None.
        images_per_s: Speed, or None.
        approximate: Read from a figure, or of a network that differs slightly.
    """

    top1: float
    parameters_m: float | None = None
    gmacs: float | None = None
    images_per_s: float | None = None
    approximate: bool = False


@dataclass(frozen=True)
class Case:
    """One network of a study.

    Attributes:
        label: Its name in tables and figures; also of its folder.
        body: Name in timm's registry.
        kwargs: Further arguments of the network: ``mixers``, ``kernel_size``, ``base_width``.
        published: The authors' result of its counterpart.
    """

    label: str
    body: str
    kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    published: Published | None = None

    def network(self, classes: int) -> nn.Module:
        """The untrained network."""
        return create_model(self.body, num_classes=classes, **self.kwargs)


@dataclass(frozen=True)
class Study:
    """A grid of cases and seeds under one recipe.

    Attributes:
        title: Heading of its table and figure.
        cases: The networks.
        seeds: Each case is trained once with each.
        recipe: Its name, or the path of its file.
        fields: Fields of the recipe that the study overrides, by dotted name.
        order: Chains of labels, each in the order of accuracy that the authors report, lowest first.
    """

    title: str
    cases: tuple[Case, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str = "cifar10"
    fields: dict[str, Any] = field(default_factory=dict)
    order: tuple[tuple[str, ...], ...] = ()

    def check(self) -> None:
        """Build every network once, without memory, to find a wrong one before anything is trained.

        Raises:
            ValueError: There is no such model or mixer, a width does not divide, or a label or seed is used twice or
                is not valid.
        """
        labels = [case.label for case in self.cases]
        if not self.cases or not self.seeds:
            raise ValueError(f"a study needs at least one case and one seed, got {len(self.cases)} and {self.seeds}")
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"the label {label!r} is given to two cases")
            if not label or label.startswith(".") or not set(label).isdisjoint("/\\:"):
                raise ValueError(f"a label is a folder's name, too; {label!r} cannot be one")
        for seed in self.seeds:
            if not isinstance(seed, int) or not 0 <= seed < 2**32:
                raise ValueError(f"a seed is a whole number from 0 to {2**32 - 1}, got {seed!r}")
            if self.seeds.count(seed) > 1:
                raise ValueError(f"the seed {seed} is given twice")
        for label in (label for chain in self.order for label in chain):
            if label not in labels:
                raise ValueError(f"order names {label!r}, which is no case; the cases are {', '.join(labels)}")
        for case in self.cases:
            check_name(case.body)
            try:
                with torch.device("meta"):
                    case.network(2)
            except (ValueError, TypeError) as error:
                raise ValueError(f"case {case.label!r}: {error}") from error


def grid(bodies: list[str], mixers: list[str], stages: list[str], kernel_sizes: list[int]) -> tuple[Case, ...]:
    """Every combination as a case; the stage ``all`` is the whole body."""
    cases = []
    for body, mixer, stage, kernel_size in itertools.product(bodies, mixers, stages, kernel_sizes):
        parts = {body: len(bodies), mixer: len(mixers), stage: len(stages), f"k{kernel_size}": len(kernel_sizes)}
        label = "-".join(part for part, count in parts.items() if count > 1) or mixer
        kwargs = {"mixers": mixer if stage == "all" else {stage: mixer}}
        cases.append(Case(label, body, kwargs | ({"kernel_size": kernel_size} if kernel_size != 3 else {})))
    return tuple(cases)


def study_names() -> list[str]:
    """Names of the studies that the package ships."""
    return sorted(path.stem for path in _studies().glob("*.yaml"))


def load_study(name: str) -> Study:
    """A shipped study by its name, or the one in a YAML file.

    Raises:
        ValueError: There is none, or the file holds none.
    """
    path = _studies() / f"{name}.yaml" if name in study_names() else Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, study_names(), n=1)
        hint = f"did you mean {near[0]}?  " if near else ""
        raise ValueError(f"unknown study {name!r}; {hint}use one of {', '.join(study_names())}, or a YAML file")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        cases = tuple(
            Case(**{**case, "published": Published(**case["published"]) if "published" in case else None})
            for case in content.pop("cases")
        )
        order = tuple(tuple(chain) for chain in content.pop("order", []))
        seeds: dict[str, Any] = {"seeds": tuple(content.pop("seeds"))} if "seeds" in content else {}
        return Study(cases=cases, order=order, **seeds, **content)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is no study: {' '.join(str(error).split())}") from error


def _studies() -> Path:
    return Path(__file__).parent / "studies"
