"""Arguments of a network's constructor that no card and no recipe may have, and what to use in their place."""

from collections.abc import Collection, Mapping
from typing import Any

_START = "the weights to start from are --model.init_from WEIGHTS"
# What would make timm open other files on behalf of a weights file, or build a network without its classes.
FORBIDDEN = {
    "pretrained": _START,
    "pretrained_cfg": _START,
    "pretrained_cfg_overlay": _START,
    "checkpoint_path": _START,
    "cache_dir": _START,
    "num_classes": "the number of classes follows from the data",
    "features_only": "a network without its classifier cannot be used",
}


def argument_names(kwargs: Mapping[str, Any]) -> set[str]:
    """The names of all arguments, those of networks inside of the network among them."""
    return {*kwargs}.union(*(argument_names(value) for value in kwargs.values() if isinstance(value, Mapping)))


def check_arguments(kwargs: Mapping[str, Any], fields: Collection[str] = ()) -> None:
    """Refuse before training what every reader of the weights would refuse after it, see `FORBIDDEN`.

    Args:
        kwargs: The field ``model.kwargs``.
        fields: Names of the fields beside it, which these arguments cannot repeat.

    Raises:
        ValueError: There is such an argument; the message says what to use in its place.
    """
    for name in sorted(argument_names(kwargs)):
        if name in FORBIDDEN:
            raise ValueError(f"model.kwargs cannot contain {name}: {FORBIDDEN[name]}")
    for name in kwargs:
        if name in fields:
            raise ValueError(f"model.kwargs cannot contain {name}, a separate field: --model.{name} {kwargs[name]}")
