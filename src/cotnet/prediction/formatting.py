"""Numbers as tables and JSON have them."""


def percent(value: float) -> str:
    """A fraction in percent; dashes where it is not a number."""
    return "--" if value != value else f"{value:.1%}"


def plain(value: float) -> float | None:
    """A number as JSON takes it; None where it is not a number."""
    return None if value != value else value
