"""The usual names of the parts of a data set, whatever their case."""

from collections.abc import Collection, Sequence

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation")
TEST = ("test", "testing")


def find_split(available: Collection[str], names: Sequence[str]) -> str | None:
    """The first of some names that is available, else the first that is in another case."""
    folded = {one.casefold(): one for one in sorted(available, reverse=True)}
    return next((name for name in names if name in available), None) or next(
        (folded[name] for name in names if name in folded), None
    )


def train_split_of(available: Collection[str], *, place: str) -> str:
    """The split to train on.

    Args:
        available: Names of the splits that are there.
        place: Where they are, for the message.

    Raises:
        ValueError: None of them has a usual name.
    """
    split = find_split(available, TRAIN)
    if split is None:
        raise ValueError(
            f"{place} has no split {_or(TRAIN)}, only {_listed(available)}; name one by --data.train_split"
        )
    return split


def val_split_of(available: Collection[str], *, place: str, evaluation: bool) -> str:
    """The split to validate on. The test split is taken only to evaluate a trained network, never during training.

    Args:
        available: Names of the splits that are there.
        place: Where they are, for the message.
        evaluation: Whether a trained network is evaluated.

    Raises:
        ValueError: None of them is for validation.
    """
    split = find_split(available, VAL)
    test = find_split(available, TEST)
    if split is None and evaluation:
        split = test
    if split is not None:
        return split
    if test is not None:
        raise ValueError(
            f"{place} has no split {_or(VAL)}, only {_listed(available)}; "
            f"to choose the best epoch on the test images, ask for it by --data.val_split {test}"
        )
    raise ValueError(f"{place} has no split {_or(VAL)}, only {_listed(available)}; name one by --data.val_split")


def _or(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]])


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") if shown else "nothing"
