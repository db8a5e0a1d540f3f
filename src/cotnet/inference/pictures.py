"""Pictures to predict: found, decoded by loader workers, and named where they cannot be read."""

import glob
import io
import tarfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import Dataset

from cotnet.models.rgb import to_rgb
from cotnet.models.weights_file import WeightsCard

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def find_pictures(words: Sequence[str]) -> list[str]:
    """Paths of the pictures that files, folders (searched through), tar archives and globs name, each once, in order.

    A picture in an archive is named ``ARCHIVE.tar/NAME``. Of a folder or a glob, files with a known ending are taken; a
    glob that matches none of those gives what it matches.

    Raises:
        FileNotFoundError: a word names nothing.
        ValueError: a folder holds no pictures.
    """
    found: dict[str, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(str(p) for p in path.rglob("*") if _is_named_picture(p) and p.is_file())
            if not inside:
                raise ValueError(f"folder {word} holds no pictures ({', '.join(sorted(ENDINGS))})")
        elif path.suffix == ".tar" and path.is_file():
            inside = [f"{word}/{name}" for name in _members(word) if _is_named_picture(Path(name))]
            if not inside:
                raise ValueError(f"archive {word} holds no pictures ({', '.join(sorted(ENDINGS))})")
        elif path.exists():
            inside = [word]
        else:
            files = sorted(p for p in glob.glob(word, recursive=True) if Path(p).is_file())
            inside = [p for p in files if _is_named_picture(Path(p))] or files
            if not inside:
                raise FileNotFoundError(f"{word} is no file or folder, and as a pattern it matches nothing")
        found.update(dict.fromkeys(inside))
    return list(found)


def _is_named_picture(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


@cache
def _members(archive: str) -> dict[str, tuple[int, int]]:
    """Where each file of a tar archive begins, and its length."""
    try:
        with tarfile.open(archive) as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except tarfile.TarError as error:
        raise ValueError(f"cannot read the archive {archive}: {error}") from error


def _source(path: str) -> str | io.BytesIO:
    """What Pillow opens: the path, or the bytes of a picture in an archive."""
    archive, inside, name = path.partition(".tar/")
    if not inside or Path(path).exists():
        return path
    offset, size = _members(f"{archive}.tar")[name]
    with open(f"{archive}.tar", "rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def input_transform(card: WeightsCard) -> Callable[[Image.Image], Tensor]:
    """From an RGB picture to the network's input [3, H, W]."""
    p = card.preprocessing
    return create_transform(
        input_size=tuple(p["input_size"]),
        is_training=False,
        interpolation=p["interpolation"],
        mean=tuple(p["mean"]),
        std=tuple(p["std"]),
        crop_pct=p["crop_pct"],
    )


class PictureFiles(Dataset[tuple[str, Tensor | str]]):
    """Path and input of each picture; in place of the input the reason why it cannot be read."""

    def __init__(self, paths: Sequence[str], card: WeightsCard):
        self.paths, self.transform = paths, input_transform(card)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Tensor | str]:
        path = self.paths[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's advice on odd files that it reads all the same
                with Image.open(_source(path)) as picture:
                    return path, self.transform(to_rgb(picture))
        # Decoders raise whatever their format makes them stumble over.
        except Exception as error:
            kind = "it is not a picture" if isinstance(error, Image.UnidentifiedImageError) else str(error)
            return path, " ".join(kind.split()) or type(error).__name__
