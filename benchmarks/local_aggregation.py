"""Times of local aggregation beside other ways to the same output, and beside work of the same size.

    python benchmarks/operator.py --json benchmarks/results/operator.jsonl

| candidate | what it is |
|---|---|
| ours | `cotnet.local_aggregation` |
| unfold | the common formulation: all windows unfolded, multiplied, summed |
| compiled | the same under `torch.compile` |
| depthwise | a depthwise 3x3 convolution of the same value |
| copy | a plain copy of the value: as many bytes as it reads and writes of it |

A candidate is timed in short blocks of several calls, the blocks of all candidates in turn: a drift of the machine
meets all alike, and after a few calls that do not count a candidate finds the caches as it left them itself, not as the
unfolded windows did. A block's time is its mean; the figures are the median and the quartiles over blocks. Nothing is
printed for results that differ from the unfold formulation in float64.

At the end ours alone, forward, with each number of threads in turn: how well threads share the work is a ratio of times
side by side, too.

Fresh pages for the output can cost more than the work, and whether the C library keeps freed pages depends on what ran
before: luck that would decide the ratios. So it is told to keep them, for all candidates alike; with `--fresh-pages` it
is left as it is.
"""

import sys

# As a script, this folder comes first, where `operator.py` hides the standard library's module.
sys.path.append(sys.path.pop(0))

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pages import keep_pages
from torch import Tensor

from cotnet.bench.timing import interleave
from cotnet.ops import native_library
from cotnet.ops.local_aggregation import local_aggregation

SHAPES = [(64, 56), (128, 28), (256, 14), (512, 7), (96, 33), (72, 13)]
SHARING = 8
BATCH = 8
WARM_UP = 4  # calls before a block; a shared cache keeps what comes again only after several

Operator = Callable[[Tensor, Tensor], Tensor]


def ours(value: Tensor, weight: Tensor) -> Tensor:
    return local_aggregation(value, weight, 3)


def unfold(value: Tensor, weight: Tensor) -> Tensor:
    """[N, C, H, W] and [N, G, 9, H, W] to [N, C, H, W]."""
    batch, channels, height, width = value.shape
    maps = weight.shape[1]
    windows = F.unfold(value, 3, padding=1).view(batch, channels // maps, maps, 9, height, width)
    return (windows * weight[:, None]).sum(3).view(batch, channels, height, width)


def depthwise(value: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(value, kernel, padding=1, groups=value.shape[1])


def in_layout(x: Tensor, layout: str) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last if layout == "channels_last" else torch.contiguous_format)


def times_ms(candidates: dict[str, Callable[[], Any]], blocks: int, block_ms: float) -> dict[str, dict[str, Any]]:
    found = interleave(candidates, blocks=blocks, block_ms=block_ms, warm_up=WARM_UP)
    return {name: {"median_ms": t.median_ms, "quartiles_ms": list(t.quartiles_ms)} for name, t in found.items()}


def trained(run: Operator, value: Tensor, second: Tensor, grad: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward of `run`, to both gradients."""
    first, second = (x.detach().requires_grad_() for x in (value, second))
    return lambda: torch.autograd.grad(run(first, second), (first, second), grad)


def check_parity(value: Tensor, weight: Tensor, grad: Tensor) -> None:
    """Exit where output or gradients differ by more than roundings from the unfold formulation in float64."""
    double = (value.double(), weight.double())
    actual = (ours(value, weight), *trained(ours, value, weight, grad)())
    exact = (unfold(*double), *trained(unfold, *double, grad.double())())
    for name, a, e in zip(("output", "gradient of value", "gradient of weight"), actual, exact, strict=True):
        error = float((a.double() - e).abs().max() / e.abs().max())
        if not error <= 9 * torch.finfo(value.dtype).eps:
            raise SystemExit(f"no times: the {name} differs by {error:.2e} at {list(value.shape)}, {value.dtype}")


def operands(channels: int, size: int, layout: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    maps = channels // SHARING
    value = in_layout(torch.randn(BATCH, channels, size, size, dtype=dtype), layout)
    weight = in_layout(torch.randn(BATCH, maps * 9, size, size, dtype=dtype), layout)
    return value, weight.unflatten(1, (maps, 9))


def kind(value: Tensor, layout: str) -> dict[str, Any]:
    return {"shape": list(value.shape), "layout": layout, "dtype": str(value.dtype).removeprefix("torch.")}


def threads_in_turn(channels: int, size: int, layout: str, dtype: torch.dtype, args: argparse.Namespace) -> dict:
    value, weight = operands(channels, size, layout, dtype)

    def run(threads: int) -> Tensor:
        torch.set_num_threads(threads)
        return ours(value, weight)

    times = times_ms({str(n): partial(run, n) for n in args.threads}, 3 * args.blocks, args.block_ms)
    first = times[str(args.threads[0])]["median_ms"]
    return {
        **kind(value, layout),
        "pass": "forward, threads in turn",
        "times": times,
        "first_to_each": {name: round(first / t["median_ms"], 2) for name, t in times.items()},
    }


def measure(channels: int, size: int, layout: str, dtype: torch.dtype, args: argparse.Namespace) -> Iterator[dict]:
    value, weight = operands(channels, size, layout, dtype)
    kernel = torch.randn(channels, 1, 3, 3, dtype=dtype)
    grad = torch.randn_like(value)
    check_parity(value, weight, grad)

    torch.compiler.reset()
    compiled: Operator = torch.compile(unfold)
    runs = {"ours": (ours, weight), "unfold": (unfold, weight), "depthwise": (depthwise, kernel)}
    if args.compile:
        runs["compiled"] = (compiled, weight)
    forward: dict[str, Callable[[], Any]] = {name: lambda r=run, s=s: r(value, s) for name, (run, s) in runs.items()}
    both = {name: trained(run, value, second, grad) for name, (run, second) in runs.items()}
    for direction, candidates in (("forward", {**forward, "copy": value.clone}), ("forward+backward", both)):
        if direction not in args.passes:
            continue
        times = times_ms(candidates, args.blocks, args.block_ms)
        ratios = {name: round(t["median_ms"] / times["ours"]["median_ms"], 2) for name, t in times.items()}
        yield {
            **kind(value, layout),
            "threads": torch.get_num_threads(),
            "pass": direction,
            "times": times,
            "ratio_to_ours": ratios,
        }


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.*)$", info.read_text(), re.M) if info.is_file() else []
    library = native_library.load()
    return {
        "machine": f"{len(models)} x {models[0]}" if models else "unknown",
        "torch": torch.__version__,
        "isa": library if isinstance(library, str) else library.isa,
        "date": time.strftime("%Y-%m-%d"),
    }


def line(row: dict) -> str:
    channels, size = row["shape"][1:3]
    own = row["times"]["ours"]
    ratios = "".join(f" {name} {ratio:6.2f}" for name, ratio in row["ratio_to_ours"].items() if name != "ours")
    return (
        f"{channels:4d}x{size:<2d} {row['layout']:<13} {row['dtype']:<8} {row['threads']} {row['pass']:<16} "
        f"{own['median_ms']:8.3f} [{own['quartiles_ms'][0]:.3f}, {own['quartiles_ms'][1]:.3f}] |{ratios}"
    )


def threads_line(row: dict) -> str:
    channels, size = row["shape"][1:3]
    times = "".join(
        f"  {n} threads {t['median_ms']:7.3f} ms {row['first_to_each'][n]:5.2f}x" for n, t in row["times"].items()
    )
    return f"{channels:4d}x{size:<2d} {row['layout']:<13} {row['dtype']:<8}{times}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--layouts", nargs="+", default=["channels_last", "contiguous"])
    parser.add_argument("--passes", nargs="+", default=["forward", "forward+backward"])
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes")
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--block-ms", type=float, default=10)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--fresh-pages", action="store_true", help="leave freed memory to the C library")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the measurements as JSON lines")
    args = parser.parse_args()
    if not args.fresh_pages:
        keep_pages()
    about = {**machine(), "fresh_pages": args.fresh_pages}
    print("  ".join(f"{key}: {value}" for key, value in about.items()))
    print("value, layout, dtype, threads, pass: median ms of ours [quartiles] | times of the others / ours")

    def keep(row: dict) -> None:
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps({**about, **row}) + "\n")

    kinds = list(product(args.dtypes, SHAPES[: args.shapes], args.layouts))
    for threads, (dtype, (channels, size), layout) in product(args.threads, kinds):
        torch.set_num_threads(threads)
        for row in measure(channels, size, layout, getattr(torch, dtype), args):
            print(line(row), flush=True)
            keep(row)
    if len(args.threads) > 1 and "forward" in args.passes:
        print(
            "value, layout, dtype: median ms of ours with each number of threads in turn, times faster than the first"
        )
        for dtype, (channels, size), layout in kinds:
            row = threads_in_turn(channels, size, layout, getattr(torch, dtype), args)
            print(threads_line(row), flush=True)
            keep(row)


if __name__ == "__main__":
    main()
