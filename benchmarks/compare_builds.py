"""Two builds of the native library side by side: are their results the same bits, and is one slower?

    python benchmarks/compare_builds.py old/libcotnet_native.so new/libcotnet_native.so

To compare with another commit, build the library there (see native/README.md) and name both files. Both builds are
loaded into this process and called in turn through the Python of this commit, so the structs of native/abi.h must not
have changed between them.

First random problems of every kernel, over dtypes, layouts and instruction sets, whose results must be equal bit by bit
(`--tolerant` reports the largest difference instead, where a kernel was meant to change). Then times: short blocks of the two builds in turn, and for each pair of
neighboring blocks the ratio of the new build's time to the old one's. Below 1 the new build is faster.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import harness
import torch
from torch import Tensor, nn

import cotnet
from cotnet.ops import native_library
from cotnet.ops.batch_norm_act import batch_norm_act
from cotnet.ops.local_aggregation import native
from cotnet.ops.native_library import NativeLibrary
from cotnet.ops.winograd_conv import transform, winograd_conv

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LAYOUTS = ("contiguous", "channels_last", "heads_innermost", "sliced")
SHAPES = [(64, 56), (128, 28), (256, 14), (512, 7), (96, 33), (72, 13)]
BATCH, SHARING = 8, 8

# Something to run, giving the tensors that it computes.
Call = Callable[[], list[Tensor]]


def load(path: Path, isa: str) -> NativeLibrary:
    """A build, also one of another interface: only the sizes of the structs matter here."""
    with mock.patch.object(native_library, "_check_interface"):
        return NativeLibrary(path, isa)


def on(build: NativeLibrary, call: Call) -> list[Tensor]:
    with mock.patch.object(native_library, "load", lambda: build):
        return call()


def in_layout(x: Tensor, layout: str) -> Tensor:
    """A value, [N, C, H, W], or a weight, [N, G, T, H, W], that lies differently in memory."""
    if layout == "sliced":
        larger = x.new_zeros([size + 2 for size in x.shape])
        middle = larger[(slice(1, -1),) * x.ndim]
        return middle.copy_(x)
    if layout == "contiguous":
        return x.contiguous()
    if x.ndim == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "heads_innermost":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, x.shape[1:3])


def aggregation(value: Tensor, weight: Tensor, grad: Tensor, kernel_size: int, stride: int, dilation: int, groups: int):
    """The operator and its two gradients."""
    options = (kernel_size, stride, dilation, groups)
    return {
        "forward": lambda: [native.aggregate(value, weight, *options)],
        "grad_value": lambda: [native.aggregate_grad_value(grad, weight, *options, *value.shape[2:])],
        "grad_weight": lambda: [native.aggregate_grad_weight(grad, value, *options, weight.shape[1])],
    }


def random_aggregation(dtype: torch.dtype) -> Iterator[tuple[str, Call]]:
    groups = random.choice([1, 1, 1, 2, 3])
    heads = random.choice([1, 2, 3, 4, 6, 8, 9, 12, 16, 20, 24, 32, 64])
    sharing = random.choice([1, 2, 5, 8, 8, 9])
    kernel_size, stride, dilation = (
        random.choice([1, 3, 3, 3, 5]),
        random.choice([1, 1, 1, 2, 3]),
        random.choice([1, 1, 2]),
    )
    height, width = random.choice([1, 2, 3, 7, 13, 14, 28]), random.choice([1, 2, 3, 5, 7, 13, 14, 33])
    batch, channels = random.choice([1, 2, 3]), groups * heads * sharing
    out = ((height - 1) // stride + 1, (width - 1) // stride + 1)
    layouts = random.choices(LAYOUTS, k=3) if random.random() < 0.3 else [random.choice(LAYOUTS)] * 3
    value = in_layout(torch.randn(batch, channels, height, width).to(dtype), layouts[0])
    weight = in_layout(torch.randn(batch, groups * heads, kernel_size**2, *out).to(dtype), layouts[1])
    grad = in_layout(torch.randn(batch, channels, *out).to(dtype), layouts[2])
    about = f"{list(value.shape)} {groups=} {heads=} {kernel_size=} {stride=} {dilation=} {layouts} {dtype}"
    for name, call in aggregation(value, weight, grad, kernel_size, stride, dilation, groups).items():
        yield f"{name} {about}", call


def normalization(x: Tensor, residual: Tensor | None, act: str | None) -> Call:
    """BatchNorm with what follows it, and all its gradients."""
    weight, bias = (torch.randn(x.shape[1]).requires_grad_() for _ in range(2))
    grad = torch.randn_like(x)
    inputs = [t.requires_grad_() for t in (x, residual) if t is not None] + [weight, bias]

    def run() -> list[Tensor]:
        statistics = [torch.zeros_like(weight), torch.ones_like(bias)]
        out = batch_norm_act(x, residual, weight, bias, *statistics, act=act)
        return [out.detach(), *statistics, *torch.autograd.grad(out, inputs, grad)]

    return run


def random_normalization(dtype: torch.dtype) -> Iterator[tuple[str, Call]]:
    shape = (random.randint(1, 4), random.choice([1, 3, 16, 33, 64, 130]), random.randint(2, 20), random.randint(1, 20))
    x = torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
    act, adds = random.choice([(None, False), ("relu", False), ("silu", False), ("relu", True)])
    yield (
        f"batch_norm_act {list(shape)} {act} {adds=} {dtype}",
        normalization(x, torch.randn_like(x) if adds else None, act),
    )


def convolution(batch: int, inputs: int, outputs: int, groups: int, size: tuple[int, int]) -> Call:
    x = torch.randn(batch, inputs, *size).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(outputs, inputs // groups, 3, 3), torch.randn(outputs)
    transformed = transform(weight, groups)
    return lambda: [winograd_conv(x, weight, transformed, bias, groups=groups, relu=True)]


def random_convolution() -> Iterator[tuple[str, Call]]:
    groups = random.choice([1, 2, 4, 8])
    inputs, outputs = groups * random.randint(1, 40), groups * random.randint(1, 40)
    batch, size = random.randint(1, 4), (random.randint(1, 30), random.randint(1, 30))
    yield (
        f"winograd_conv {batch=} {inputs=} {outputs=} {groups=} {size}",
        convolution(batch, inputs, outputs, groups, size),
    )


def fused_layer(dim: int, batch: int, size: tuple[int, int], dtype: torch.dtype, kind: type[nn.Module]) -> Call:
    layer = cotnet.fuse(kind(dim).eval()).to(dtype)
    x = torch.randn(batch, dim, *size).to(dtype).contiguous(memory_format=torch.channels_last)
    return lambda: [layer(x)]


def random_fused_layer(dtype: torch.dtype) -> Iterator[tuple[str, Call]]:
    kind = random.choice([cotnet.CoTLayer, cotnet.CoXtLayer])
    dim, batch = random.choice([32, 64, 96, 128, 160]), random.randint(1, 5)
    size = (random.randint(1, 20), random.randint(1, 20))
    yield f"{kind.__name__} {dim=} {batch=} {size} {dtype}", fused_layer(dim, batch, size, dtype, kind)


def random_problems() -> Iterator[tuple[str, Call]]:
    for dtype in DTYPES:
        yield from random_aggregation(dtype)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        yield from random_normalization(dtype)
        yield from random_fused_layer(dtype)
    yield from random_convolution()


def compare_bits(builds: list[Path], isas: list[str], rounds: int, tolerant: bool) -> dict[str, int]:
    """The number of problems compared, by instruction set; exits at the first that differs, unless it may."""
    counts = dict.fromkeys(isas, 0)
    for isa in isas:
        old, new = (load(path, isa) for path in builds)
        largest: dict[str, float] = {}
        for _ in range(rounds):
            torch.set_num_threads(random.choice([1, 2]))
            for about, call in random_problems():
                counts[isa] += 1
                for a, b in zip(on(old, call), on(new, call), strict=True):
                    if torch.equal(a, b):
                        continue
                    if not tolerant:
                        raise SystemExit(f"{isa}: the results differ at {about}")
                    kernel = f"{about.split()[0]} {about.split()[-1]}"
                    error = float((a.double() - b.double()).abs().max() / a.double().abs().max())
                    largest[kernel] = max(largest.get(kernel, 0.0), error)
        print(
            f"{isa}: {counts[isa]} problems, " + (f"differences {largest}" if largest else "all bits the same"),
            flush=True,
        )
    return counts


def timed_problems() -> Iterator[tuple[str, Call]]:
    for dtype, layout, (channels, size) in itertools.product(
        (torch.float32, torch.bfloat16), ("channels_last", "contiguous"), SHAPES
    ):
        value = in_layout(torch.randn(BATCH, channels, size, size).to(dtype), layout)
        weight = in_layout(torch.randn(BATCH, channels // SHARING, 9, size, size).to(dtype), layout)
        calls = aggregation(value, weight, torch.randn_like(value), 3, 1, 1, 1)
        for name, call in calls.items():
            yield f"{name} {channels}x{size} {layout} {str(dtype).removeprefix('torch.')}", call
    for channels, size in SHAPES[:4]:
        x = torch.randn(BATCH, channels, size, size).contiguous(memory_format=torch.channels_last)
        yield f"batch_norm_act {channels}x{size}", normalization(x, None, "relu")
        yield f"fused CoT {channels}x{size}", fused_layer(channels, 1, (size, size), torch.float32, cotnet.CoTLayer)
        yield f"winograd_conv {channels}x{size}", convolution(1, channels, channels, 4, (size, size))


def seconds(build: NativeLibrary, call: Call, calls: int) -> float:
    """Of one call, the mean over a block of them."""
    with mock.patch.object(native_library, "load", lambda: build):
        call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls


def compare_times(builds: list[Path], isa: str, blocks: int, block_ms: float, only: str) -> Iterator[dict]:
    old, new = (load(path, isa) for path in builds)
    for name, call in timed_problems():
        if only not in name:
            continue
        calls = max(1, int(block_ms / 1e3 / min(seconds(old, call, 1) for _ in range(3))))
        pairs = []
        for number in range(blocks):
            first, second = (old, new) if number % 2 else (new, old)
            times = {first: seconds(first, call, calls)}
            times[second] = seconds(second, call, calls)
            pairs.append((times[old], times[new]))
        ratios = [n / o for o, n in pairs]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        best = [min(column) for column in zip(*pairs, strict=True)]
        yield {
            "problem": name,
            "old_ms": round(best[0] * 1e3, 4),
            "new_ms": round(best[1] * 1e3, 4),
            "ratio_of_shortest": round(best[1] / best[0], 3),
            "ratio": round(median, 3),
            "ratio_quartiles": [round(low, 3), round(high, 3)],
        }


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--isas", nargs="+", default=list(native_library.ISAS), help="to compare; times of the last")
    parser.add_argument("--rounds", type=int, default=30, help="of random problems, about 20 each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerant", action="store_true", help="report differences instead of stopping at one")
    parser.add_argument("--blocks", type=int, default=15, help="of each build; 0: no times")
    parser.add_argument("--block-ms", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="time only problems whose name contains this")
    args = parser.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    harness.keep_pages()
    about = harness.machine()
    builds = [args.old.resolve(), args.new.resolve()]
    compare_bits(builds, args.isas, args.rounds, args.tolerant)
    if not args.blocks:
        return
    torch.set_num_threads(args.threads)
    rows = []
    print("problem: shortest ms of old and new | new / old: shortest, median [quartiles] of neighboring blocks")
    for row in compare_times(builds, args.isas[-1], args.blocks, args.block_ms, args.only):
        rows.append(row)
        print(
            f"{row['problem']:45} {row['old_ms']:8.3f} {row['new_ms']:8.3f} | {row['ratio_of_shortest']:.3f}"
            f"  {row['ratio']:.3f} {row['ratio_quartiles']}",
            flush=True,
        )
        harness.record(args.json, about, {"old": str(args.old), "new": str(args.new), "threads": args.threads}, row)
    for key in ("ratio_of_shortest", "ratio"):
        print(f"geometric mean of {key}: {statistics.geometric_mean(row[key] for row in rows):.3f}")


if __name__ == "__main__":
    main()
