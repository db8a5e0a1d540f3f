"""Tar shards of any labelled images, as webdataset reads them."""

import io
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from cotnet.data.module import ImageDataModule, Labelled
from cotnet.data.shards.index import INDEX, Shard, ShardIndex


def write_shards(
    data: ImageDataModule, folder: Path, *, per_shard: int, seed: int = 0, say: Callable[[str], None] = print
) -> ShardIndex:
    """Write the images of a data module into ``train-000000.tar`` … and ``val-000000.tar`` … with an index.

    Each split is shuffled once, by the seed, so that a shard is a fair sample. Encoded images are copied unchanged.
    The folder appears when it is complete; an error leaves nothing behind.

    Args:
        data: Names the classes and opens the images.
        folder: The folder to make; it must not exist.
        per_shard: Number of images in a shard; the last one may have fewer.
        seed: Seed of the shuffled order.
        say: Receives a line about each split.

    Raises:
        ValueError: The folder exists, or there are no images.
        OSError: The folder cannot be written.
    """
    if folder.exists():
        raise ValueError(f"{str(folder)!r} exists; name a new folder, or remove it")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    splits: dict[str, list[Shard]] = {}
    per_class: dict[str, list[int]] = {}
    try:
        partial.mkdir(parents=True)
        for split, images in (("train", data.train_images), ("val", data.val_images)):
            labelled = images()
            splits[split] = _write_split(labelled, partial, split, per_shard=per_shard, seed=seed)
            counts = Counter(int(label) for label in labelled[1])
            per_class[split] = [counts[label] for label in range(data.num_classes)]
            megabytes = sum(shard.bytes for shard in splits[split]) / 1e6
            say(f"{split}: {len(labelled[1])} images in {len(splits[split])} shards, {megabytes:.1f} MB")
        index = ShardIndex(data.class_names, splits, per_class, data.synsets)
        (partial / INDEX).write_text(index.to_json())
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return index


def _write_split(labelled: Labelled, folder: Path, split: str, *, per_shard: int, seed: int) -> list[Shard]:
    read, labels = labelled
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    shards = []
    for number, start in enumerate(range(0, len(order), per_shard)):
        path = folder / f"{split}-{number:06d}.tar"
        indices = order[start : start + per_shard]
        with tarfile.open(path, "w") as archive:
            for position, index in enumerate(indices, start):
                content, suffix = read.encoded(index)
                _add(archive, f"{position:09d}.{suffix}", content)
                _add(archive, f"{position:09d}.cls", str(int(labels[index])).encode())
        shards.append(Shard(path.name, len(indices), path.stat().st_size))
    return shards


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
