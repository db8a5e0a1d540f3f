"""Does the cost of a fused network grow linearly in pixels and in batch? Both tables, all sizes interleaved.

    python benchmarks/linear_cost.py --models cotnet50 resnet50

Prints Markdown: milliseconds of a call, and nanoseconds a pixel, which linear growth keeps the same.
"""

import functools

import harness
import timm
import torch

import cotnet
from cotnet.bench.timing import interleave


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["cotnet50", "resnet50"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 160, 192, 224, 256, 320, 384, 448, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--size", type=int, default=224, help="in pixels, of the table over batches")
    parser.add_argument("--batch", type=int, default=1, help="of the table over sizes")
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shapes = [(args.batch, size) for size in args.sizes]
    shapes += [(batch, args.size) for batch in args.batches if (batch, args.size) not in shapes]
    networks = {name: cotnet.fuse(timm.create_model(name).eval()) for name in args.models}
    runs = {
        (name, batch, size): functools.partial(
            network, torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        )
        for batch, size in shapes
        for name, network in networks.items()
    }
    with torch.inference_mode():
        times = interleave(runs, blocks=args.blocks, block_ms=50)
    about = {**harness.machine(), "threads": args.threads}
    columns = [column for name in networks for column in (f"{name}, ms", "ns a pixel")]
    print("| batch | pixels | " + " | ".join(columns) + " |\n|" + "--:|" * (2 + len(columns)))
    for batch, size in shapes:
        cells = []
        for name in networks:
            time = times[name, batch, size]
            ms = time.median_ms
            cells += [f"{ms:.1f}", f"{ms * 1e6 / (batch * size**2):.0f}"]
            row = {
                "model": name,
                "batch": batch,
                "size": size,
                "median_ms": ms,
                "quartiles_ms": list(time.quartiles_ms),
            }
            harness.record(args.json, about, row)
        print(f"| {batch} | {size}² | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
