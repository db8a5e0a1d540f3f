"""Numbers and names as tables and JSON have them."""

from collections.abc import Sequence


def percent(value: float) -> str:
    """A fraction in percent; dashes where it is not a number."""
    return "--" if value != value else f"{value:.1%}"


def plain(value: float) -> float | None:
    """A number as JSON takes it; None where it is not a number."""
    return None if value != value else value


def distinct(names: Sequence[str]) -> list[str]:
    """Names that can be keys: one that occurs again, as ImageNet's ``crane`` does, gets its place added.

    Args:
        names: Any names.
    """
    taken: set[str] = set()
    result = []
    for place, name in enumerate(names):
        key = name
        while key in taken:
            key = f"{key} ({place})"
        taken.add(key)
        result.append(key)
    return result
