"""Names in timm's registry, of which this package's are a part."""

import difflib

import timm


def check_name(name: str) -> None:
    """Make sure that there is a model of this name.

    Raises:
        ValueError: There is none; the message holds the nearest names.
    """
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`cotnet models` lists this package's"
    raise ValueError(f"unknown model {name!r}; {hint}")
