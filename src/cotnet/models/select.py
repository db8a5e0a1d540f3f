"""Selection of a network's convolutions: by name, pattern, stage, width, or a function."""

import fnmatch
import operator
import re
from collections.abc import Callable, Sequence

from torch import nn

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
# What torchvision, timm and others call the stage that the paper calls res{N}; the first that a network has counts.
_STAGE_NAMES: tuple[tuple[str, int], ...] = (
    ("res{}", 0),
    ("layer{}", -1),
    ("trunk_output.block{}", -1),
    ("s{}", -1),
    ("stages.{}", -2),
    ("stage{}", 0),
)
_NUMBERS = range(2, 9)


def select(
    model: nn.Module,
    convolutions: dict[str, nn.Conv2d],
    where: str | Sequence[str] | Callable[[str, nn.Conv2d], bool] | None,
    *,
    possible: str,
) -> set[str]:
    """Names of the convolutions that ``where`` selects.

    Args:
        model: The network.
        convolutions: Its convolutions by name.
        where: Selection as ``cotnet.convert`` takes it.
        possible: Names that could be swapped, for the message of an error.

    Raises:
        ValueError: A stage, a width rule or a name that the network does not have.
    """
    if where is None:
        return set(convolutions)
    if callable(where):
        return {name for name, conv in convolutions.items() if where(name, conv)}
    rules = [where] if isinstance(where, str) else where
    if not isinstance(rules, Sequence) or not all(isinstance(rule, str) for rule in rules):
        raise ValueError(f"expected where as text, several texts, or a function, got {where!r}")
    selected: set[str] = set()
    for rule in rules:
        matching = _by_rule(model, convolutions, rule.strip())
        if not matching:
            raise ValueError(f"no convolution fits where={rule!r}; {_alternatives(model, possible)}")
        selected |= matching
    return selected


def _by_rule(model: nn.Module, convolutions: dict[str, nn.Conv2d], rule: str) -> set[str]:
    width = re.fullmatch(r"width\s*(>=|<=|==|>|<)\s*(\d+)", rule)
    if width:
        compare, bound = _COMPARE[width[1]], int(width[2])
        return {name for name, conv in convolutions.items() if compare(conv.out_channels, bound)}
    if rule.startswith("width"):
        raise ValueError(f"expected a width rule such as 'width>=128', got {rule!r}")
    stages = re.fullmatch(r"res(\d+)(?:-(?:res)?(\d+))?", rule)
    modules = dict(model.named_modules(remove_duplicate=False))
    if stages and rule not in modules:
        begin, end = int(stages[1]), int(stages[2] or stages[1])
        prefixes = [_stage(modules, number) for number in range(begin, end + 1)]
        if None in prefixes:  # a range that reaches beyond the network is a mistake, even if a part of it is there
            return set()
        return {name for prefix in prefixes for name in convolutions if name.startswith(f"{prefix}.")}
    return {name for name in convolutions if name == rule or name.startswith(f"{rule}.") or fnmatch.fnmatch(name, rule)}


def _stage(modules: dict[str, nn.Module], number: int) -> str | None:
    for pattern, offset in _STAGE_NAMES:
        numbers = [count for count in range(9) if pattern.format(count) in modules]
        if len(numbers) > 1:
            name = pattern.format(number + offset)
            return name if name in modules else None
    return None


def stage_of(model: nn.Module, name: str) -> str:
    """The stage that a module belongs to, as the paper counts (``res4``), or the first part of its name.

    Args:
        model: The network.
        name: Name of a module in it.
    """
    modules = dict(model.named_modules())
    for number in _NUMBERS:
        prefix = _stage(modules, number)
        if prefix is not None and f"{name}.".startswith(f"{prefix}."):
            return f"res{number}"
    return name.partition(".")[0]


def _alternatives(model: nn.Module, possible: str) -> str:
    modules = dict(model.named_modules())
    stages = [f"res{number} ({name})" for number in _NUMBERS if (name := _stage(modules, number)) is not None]
    parts = [f"the stages are {', '.join(stages)}"] if stages else []
    parts += [f"the parts are {', '.join(name for name, _ in model.named_children())}"]
    parts += [f"these could be swapped: {possible}" if possible else "no convolution could be swapped"]
    return "; ".join(parts)
