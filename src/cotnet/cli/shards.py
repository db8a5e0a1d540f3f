"""`cotnet shards SOURCE FOLDER`."""

from pathlib import Path

from cotnet.cli.parser import Parser, at_least

DESCRIPTION = """Write labelled images into tar shards, for `--data cotnet.data.WebShards --data.root FOLDER`.

SOURCE is a folder with train/CLASS/*.jpg and val/CLASS/*.jpg, an .npz pack, or a Hugging Face data set: a folder that
save_to_disk made, or with parquet files, or hub:NAME. FOLDER is made; it receives train-000000.tar, val-000000.tar and
so on, and index.json with classes, sizes and numbers. Images are copied as they are, mixed once by the seed."""


def run(arguments: list[str]) -> None:
    """Write shards as the arguments say.

    Raises:
        ValueError: An option or the source is wrong, or the folder exists.
        OSError: The folder cannot be written.
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

    from cotnet.data.open import open_data
    from cotnet.data.shards.writer import write_shards

    index = write_shards(open_data(args.source), Path(args.folder), per_shard=args.per_shard, seed=args.seed)
    print(f"{len(index.classes)} classes; train with --data cotnet.data.WebShards --data.root {args.folder}")
