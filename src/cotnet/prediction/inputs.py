"""Images to predict: found, decoded by loader workers, and named where they cannot be read."""

import glob
import io
import itertools
import os
import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from cotnet.files.image import to_rgb, upright
from cotnet.files.weights import WeightsCard

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


class InputFiles(Iterable[str]):
    """Paths of the images that files, folders (searched through), tar archives and globs name, each once, in order.

    An image in an archive is named ``ARCHIVE.tar/NAME``. Of a folder or a glob, files with a known ending are taken; a
    glob that matches none of those gives what it matches. The paths are looked for anew whenever they are iterated
    over, and never all held at a time.

    Args:
        words: files, folders, archives and globs.

    Raises:
        FileNotFoundError: a word names nothing.
        ValueError: a folder or an archive holds no images.
    """

    def __init__(self, words: Sequence[str]):
        self.words = words
        for word in words:
            first = next(_named_by(word), None)
            if first is None and Path(word).exists():
                kind = "folder" if Path(word).is_dir() else "archive"
                raise ValueError(f"{kind} {word} holds no images ({', '.join(sorted(ENDINGS))})")
            if first is None:
                raise FileNotFoundError(f"{word} is no file or folder, and as a pattern it matches nothing")

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for word in self.words:
            for path in _named_by(word):
                if len(self.words) == 1:  # a word alone names nothing twice
                    yield path
                elif path not in seen:
                    seen.add(path)
                    yield path


def _named_by(word: str) -> Iterator[str]:
    path = Path(word)
    if path.is_dir():
        yield from _images_below(str(path))
    elif path.suffix == ".tar" and path.is_file():
        yield from (f"{word}/{name}" for name in _members(word) if _is_named_image(os.path.basename(name)))
    elif path.exists():
        yield word
    else:
        files = sorted({p for p in glob.iglob(word, recursive=True) if os.path.isfile(p)})
        yield from [p for p in files if _is_named_image(os.path.basename(p))] or files


def _images_below(folder: str) -> Iterator[str]:
    """The names in a folder in order, those of a folder in it at its place."""
    for name in sorted(os.listdir(folder)):
        path = name if folder == "." else os.path.join(folder, name)
        if os.path.isdir(path):
            if not os.path.islink(path):  # it may lead back up
                yield from _images_below(path)
        elif _is_named_image(name) and os.path.isfile(path):
            yield path


def _is_named_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".")


@cache
def _members(archive: str) -> dict[str, tuple[int, int]]:
    """Where each file of a tar archive begins, and its length."""
    try:
        with tarfile.open(archive) as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except tarfile.TarError as error:
        raise ValueError(f"cannot read the archive {archive}: {error}") from error


def _source(path: str) -> str | io.BytesIO:
    """What Pillow opens: the path, or the bytes of an image in an archive."""
    archive, inside, name = path.partition(".tar/")
    if not inside or Path(path).exists():
        return path
    offset, size = _members(f"{archive}.tar")[name]
    with open(f"{archive}.tar", "rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def input_transform(card: WeightsCard) -> Callable[[Image.Image], Tensor]:
    """From an RGB image to the network's input [3, H, W]."""
    p = card.preprocessing
    return create_transform(
        input_size=tuple(p["input_size"]),
        is_training=False,
        interpolation=p["interpolation"],
        mean=tuple(p["mean"]),
        std=tuple(p["std"]),
        crop_pct=p["crop_pct"],
    )


class ImageReader:
    """Gives the input of the image at a path; in place of the input the reason why it cannot be read."""

    def __init__(self, card: WeightsCard):
        self.transform = input_transform(card)

    def __call__(self, path: str) -> Tensor | str:
        return read_input(path, self.transform)


def read_input(path: str, transform: Callable[[Image.Image], Tensor]) -> Tensor | str:
    """What a transform makes of the image at a path, or the reason why it cannot be read."""
    try:
        return transform(open_image(path))
    # Decoders raise whatever their format makes them stumble over.
    except Exception as error:
        kind = "it is not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        return " ".join(kind.split()) or type(error).__name__


def open_image(path: str) -> Image.Image:
    """The image at a path, or in an archive, in RGB and upright as its EXIF orientation says.

    Raises:
        Exception: it cannot be decoded; what is raised depends on the format.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's advice on odd files that it reads all the same
        with Image.open(_source(path)) as image:
            return to_rgb(upright(image))


Batch = list[tuple[str, Tensor | str]]
Reader = Callable[[str], Tensor | str]


class ImageBatches(IterableDataset[Batch]):
    """Path and input of each image, in batches, which processes and their loader workers decode in turn.

    Args:
        paths: of the images; iterated over by every worker for itself.
        read: from a path to the input, or to the reason why there is none.
        batch_size: images in a batch.
        rank: number of this process.
        processes: how many there are.
    """

    def __init__(self, paths: Iterable[str], read: Reader, batch_size: int, *, rank: int = 0, processes: int = 1):
        self.paths, self.read, self.batch_size = paths, read, batch_size
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        first, step = self.rank + self.processes * number, self.processes * num_workers
        paths = iter(self.paths)
        for index in itertools.count():
            batch = list(itertools.islice(paths, self.batch_size))
            if not batch:
                return
            if index % step == first:
                yield [(path, self.read(path)) for path in batch]
