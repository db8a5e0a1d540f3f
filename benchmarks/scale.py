"""Loaders against networks, and one process against two.

    python benchmarks/scale.py [--pack cifar10_jpeg_q75.npz]

Prints a line for each measurement. Photographs are scikit-image's, in JPEG at ImageNet's
mean size; the small images are those of an .npz pack, or random ones.
"""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
import timm
import torch
import torch.distributed as dist
from PIL import Image
from torch.multiprocessing import spawn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

import cotnet  # noqa: F401 (registers the family)
from cotnet.data import ImageFolder, NpzPack, WebShards
from cotnet.data.shards.writer import write_shards
from cotnet.models import count_macs

ADVANCED = "rand-m15-n2-mstd0.5-mmax30-cutout"
SECONDS = 4.0


# Prints and records a measurement: its name and values.
Report = Callable[..., None]


def reporter(file: Path | None) -> Report:
    about = harness.machine()

    def report(name: str, **values: Any) -> None:
        rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}
        print(name, *(f"{key}={value}" for key, value in rounded.items()), flush=True)
        harness.record(file, about, {"name": name}, rounded)

    return report


def rate(step: Callable[[], int], seconds: float = SECONDS) -> float:
    """Images per second of a step that says how many it has done; the first step warms up."""
    step()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += step()
    return done / (time.perf_counter() - start)


def training(name: str, size: int, batch: int, **kwargs: Any) -> Callable[[], int]:
    network = timm.create_model(name, **kwargs).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10

    def step() -> int:
        optimizer.zero_grad()
        cross_entropy(network(x), labels).backward()
        optimizer.step()
        return batch

    return step


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def loading(loader: Any) -> Callable[[], int]:
    batches = endless(loader)
    return lambda: len(next(batches)[0])


def small_images(pack: str | None, folder: Path) -> NpzPack:
    if pack is None:
        generator = np.random.default_rng(0)
        files = [encoded(Image.fromarray(generator.integers(0, 255, (32, 32, 3), np.uint8))) for _ in range(2048)]
        split = {"jpeg": np.frombuffer(b"".join(files), np.uint8), "offset": np.cumsum([0, *map(len, files)])}
        split["label"] = np.arange(2048) % 10
        arrays = {f"{name}_{part}": value for name in ("train", "test") for part, value in split.items()}
        pack = str(folder / "pack.npz")
        np.savez(pack, **arrays, classes=np.array([str(number) for number in range(10)]))
    data = NpzPack(pack, in_memory=True, num_workers=0)
    data.setup()
    return data


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def photographs(folder: Path) -> None:
    """A folder of photographs of 500x375 pixels, 110 kB at the mean in ImageNet, at quality 90 here."""
    from skimage import data

    names = ("astronaut", "coffee", "chelsea", "rocket")
    for split, count in (("train", 128), ("val", 8)):
        for index in range(count):
            place = folder / split / names[index % 4]
            place.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(getattr(data, names[index % 4])()).convert("RGB").resize((500, 375))
            (place / f"{index}.jpg").write_bytes(encoded(image))


def small(pack: str | None, folder: Path, report: Report) -> None:
    data = small_images(pack, folder)
    loader, step = (
        loading(data.train_dataloader()),
        training("cotnet8_nano", 32, 128, num_classes=10, mixers="res2=conv"),
    )
    loads, consumes = rate(loader), rate(step)
    batches, waited, start = endless(data.train_dataloader()), 0.0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        before = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - before
        step()
    share = waited / (time.perf_counter() - start)
    report("small", loader_per_s=loads, network_per_s=consumes, times=loads / consumes, share_of_step=share)


def large(folder: Path, report: Report) -> None:
    photographs(folder / "images")
    write_shards(ImageFolder(str(folder / "images")), folder / "shards", per_shard=32, say=lambda line: None)
    for kind in (ImageFolder, WebShards):
        for policy in (None, ADVANCED):
            data = kind(
                str(folder / ("images" if kind is ImageFolder else "shards")), num_workers=0, auto_augment=policy
            )
            data.batch_size = 16
            data.setup()
            report("decode", data=kind.__name__, policy=policy, per_core_per_s=rate(loading(data.train_dataloader())))


def networks(report: Report) -> None:
    for name in ("cotnet50", "se_cotnetd_50", "resnet50"):
        gmacs = count_macs(timm.create_model(name), 224) / 1e9
        images_per_s = rate(training(name, 224, 8), 6)
        report("step", network=name, gmacs=gmacs, images_per_s=images_per_s, gflop_per_s=6 * gmacs * images_per_s)


def in_processes(rank: int, world_size: int, store: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    network = DistributedDataParallel(timm.create_model("cotnet8_nano", num_classes=10), broadcast_buffers=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    x, labels = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last), torch.arange(128) % 10
    start = 0.0
    for number in range(14):
        if number == 2:
            start = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(network(x), labels).backward()
        optimizer.step()
    results[rank] = 12 * 128 / (time.perf_counter() - start)


def processes(folder: Path, report: Report) -> None:
    rates = {}
    for world_size in (1, 2):
        results = torch.zeros(world_size).share_memory_()
        spawn(in_processes, (world_size, str(folder / f"store{world_size}"), results), nprocs=world_size)
        rates[world_size] = float(results.sum())
    report("processes", one_per_s=rates[1], two_per_s=rates[2], efficiency=rates[2] / rates[1] / 2)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--pack", help=".npz pack of small images")
    args = parser.parse_args()
    report = reporter(args.json)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small(args.pack, folder, report)
        processes(folder, report)
        large(folder, report)
    networks(report)


if __name__ == "__main__":
    main()
