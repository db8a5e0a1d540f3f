"""From something readable to a labelled tensor: the one dataset class that every data module serves."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset


class PictureReader(Protocol):
    """Reads picture ``index`` as 8-bit RGB; picklable, because loader workers receive a copy."""

    def __call__(self, index: int) -> Image.Image: ...


def decode(source: Path | bytes, name: str) -> Image.Image:
    """Decode one picture completely.

    Args:
        source: A file, or the encoded bytes.
        name: What to call the picture in an error message.

    Returns:
        The picture in RGB.

    Raises:
        ValueError: The source is no picture, or is damaged; the message holds `name`.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return picture.convert("RGB")
    # Decoders raise whatever their format makes them stumble over: OSError, SyntaxError, struct.error, zlib.error ...
    except Exception as error:
        reason = "it is not a picture" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise ValueError(f"cannot read the picture {name}: {reason}; repair or remove it") from error


class FileReader:
    """Reads picture files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __call__(self, index: int) -> Image.Image:
        path = self.paths[index]
        return decode(path, str(path))


class Pictures(Dataset[tuple[Tensor, int]]):
    """Labelled pictures.

    Args:
        read: Gives the picture of an index.
        labels: Class index of every picture.
        transform: Makes the network's input [3, H, W] of a picture.
    """

    def __init__(self, read: PictureReader, labels: Sequence[int], transform: Callable[[Any], Tensor]) -> None:
        self.read = read
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.read(index)), int(self.labels[index])
