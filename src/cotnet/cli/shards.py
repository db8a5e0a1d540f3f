"""`cotnet shards SOURCE FOLDER`."""

from pathlib import Path
from typing import TYPE_CHECKING

from cotnet.cli.parser import Parser, at_least

if TYPE_CHECKING:
    from cotnet.data import ImageDataModule

DESCRIPTION = """Write labelled images into tar shards, for `--data cotnet.data.WebShards --data.root FOLDER`.

SOURCE is a folder with train/CLASS/*.jpg and val/CLASS/*.jpg, an .npz pack, or a Hugging Face data set: a folder that
save_to_disk made, or with parquet files, or hub:NAME. FOLDER is made; it receives train-000000.tar, val-000000.tar and
so on, and index.json with classes, sizes and numbers. Images are copied as they are, mixed once by the seed."""


def run(arguments: list[str]) -> None:
    """Write shards as the arguments say.

    Raises:
        ValueError: an option or the source is wrong, or the folder exists.
        OSError: the folder cannot be written.
    """
    parser = Parser("shards", DESCRIPTION)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--per-shard", type=int, default=1000, metavar="N", help="images of a shard; default 1000")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the mixed order; default 0")
    args = parser.parse_args(arguments)
    at_least(1, "per-shard", args.per_shard)
    at_least(0, "seed", args.seed)
    if Path(args.folder).exists():
        raise ValueError(f"{args.folder} exists; name a new folder, or remove it")

    from cotnet.data.shards.writer import write_shards

    index = write_shards(_open(args.source), Path(args.folder), per_shard=args.per_shard, seed=args.seed)
    print(f"{len(index.classes)} classes; train with --data cotnet.data.WebShards --data.root {args.folder}")


def _open(source: str) -> "ImageDataModule":
    from cotnet.data import HuggingFace, ImageFolder, NpzPack

    path = Path(source)
    if source.startswith("hub:"):
        return HuggingFace(source.removeprefix("hub:"))
    if path.is_file():
        return NpzPack(source)
    if not path.is_dir():
        raise ValueError(f"{source} does not exist; name a folder of images, an .npz pack, or hub:NAME")
    if (path / "dataset_dict.json").is_file() or any(path.rglob("*.parquet")):
        return HuggingFace(source)
    return ImageFolder(source)
