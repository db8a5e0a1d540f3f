"""The weights that a run starts from, or that a teacher has: one way to find and to read them."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from cotnet.models.weights_file import EXPORTED, WeightsFile, open_weights

_COUNTER = "num_batches_tracked"


def read_start(name: str, *, field: str) -> WeightsFile:
    """Read weights; nothing in the file is executed.

    Args:
        name: A file that `open_weights` reads, or such a file inside an installed package as ``PACKAGE/FOLDER/FILE``.
        field: What the user calls it, for messages.

    Raises:
        ValueError: There is no such file, or it is damaged, hostile or holds no weights.
    """
    path = _find(name)
    if path is None:
        raise ValueError(f"{field} {name!r} is neither a file nor a file inside an installed package")
    if path.suffix in EXPORTED:
        raise ValueError(f"{field} {name!r} is an exported network; name the weights.safetensors that it was made from")
    try:
        return open_weights(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{field} {name!r} cannot be used: {error}") from error


def class_names(file: WeightsFile) -> list[str] | None:
    """Names of the classes that a file's classifier is for, None where it does not say them."""
    return file.class_names if file.card is None else file.card.class_names


def named_in_order(entries: Mapping[str, Tensor], network: nn.Module, *, head: str | None = None) -> dict[str, Tensor]:
    """Entries under a network's names: as they are, or taken in order where no name agrees and every shape does.

    Args:
        entries: Name to tensor.
        network: The network.
        head: Its classifier, whose width may differ.
    """
    wanted = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(_COUNTER)}
    given = {name: value for name, value in entries.items() if not name.endswith(_COUNTER)}
    if given.keys() & wanted.keys() or len(given) != len(wanted):
        return dict(entries)
    renamed = dict(zip(wanted, given.values(), strict=True))
    fits = (value.shape == wanted[name] or name.rpartition(".")[0] == head for name, value in renamed.items())
    return renamed if all(fits) else dict(entries)


def _find(name: str) -> Path | None:
    if Path(name).exists():
        return Path(name)
    package, *inside = Path(name).parts or ("",)
    spec = find_spec(package) if inside and package.isidentifier() else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, *inside)
        if file.is_file() and file.resolve().is_relative_to(Path(folder).resolve()):
            return file
    return None
