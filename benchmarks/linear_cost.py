"""Does the cost of a fused network grow linearly in pixels and in batch? Both tables, all sizes interleaved.

    python benchmarks/linear_cost.py --models cotnet50 resnet50

Prints Markdown: milliseconds of a call, and nanoseconds a pixel, which linear growth keeps the same.
"""

import sys

# As a script, this folder comes first, where `operator.py` hides the standard library's module.
sys.path.append(sys.path.pop(0))

import argparse
import functools

import timm
import torch

import cotnet
from cotnet.bench.timing import interleave


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["cotnet50", "resnet50"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 160, 192, 224, 256, 320, 384, 448, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--size", type=int, default=224, help="in pixels, of the table over batches")
    parser.add_argument("--batch", type=int, default=1, help="of the table over sizes")
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shapes = [(options.batch, size) for size in options.sizes]
    shapes += [(batch, options.size) for batch in options.batches if (batch, options.size) not in shapes]
    networks = {name: cotnet.fuse(timm.create_model(name).eval()) for name in options.models}
    runs = {
        (name, batch, size): functools.partial(
            network, torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        )
        for batch, size in shapes
        for name, network in networks.items()
    }
    with torch.inference_mode():
        times = interleave(runs, blocks=options.blocks, block_ms=50)
    columns = [column for name in networks for column in (f"{name}, ms", "ns a pixel")]
    print("| batch | pixels | " + " | ".join(columns) + " |\n|" + "--:|" * (2 + len(columns)))
    for batch, size in shapes:
        cells = []
        for name in networks:
            ms = times[name, batch, size].median_ms
            cells += [f"{ms:.1f}", f"{ms * 1e6 / (batch * size**2):.0f}"]
        print(f"| {batch} | {size}² | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
