"""Where each millisecond of a compiled, fused forward pass goes, beside what the machine could do.

    python benchmarks/where_time_goes.py --model cotnet50 --batch 8

Prints a Markdown table, one line for each operator and shape: its time, the time its multiplications would take at the
machine's arithmetic peak and its bytes at the machine's memory bandwidth, both measured in the same run, and what is
left on the table. A convolution's operations are those of the plain algorithm, so minimal filtering can beat the peak.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import harness
import timm
import torch
import torch._inductor.config
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import cotnet

FLOAT_BYTES = 4


def best_s(run: Callable[[], Any], rounds: int = 20) -> float:
    """The shortest time of a call."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def limits() -> tuple[float, float]:
    """Peak of float32 arithmetic in FLOP/s, by a large 1x1 convolution, and of memory in bytes/s, by a large copy."""
    conv = torch.nn.Conv2d(1024, 1024, 1).to(memory_format=torch.channels_last)
    x = torch.randn(8, 1024, 28, 28).contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(conv)
    flops = 2 * 1024 * x.numel()
    source, target = torch.randn(64 << 20), torch.empty(64 << 20)
    return flops / best_s(lambda: compiled(x)), 2 * source.numel() * FLOAT_BYTES / best_s(
        lambda: target.copy_(source), 5
    )


def work(event: Any) -> tuple[int, int] | None:
    """FLOPs and bytes of an operator, from its inputs' shapes; None for what is not counted."""
    shapes, values = event.input_shapes, event.concrete_inputs
    name = event.name.split("::")[-1]
    if "convolution_pointwise" in name:
        binary = len(shapes[1]) == 4 and len(shapes[2]) == 4
        x, weight = shapes[0], shapes[2 if binary else 1]
        if binary:  # the sum's other summand comes first where it is overwritten
            x = shapes[1] if shapes[1][1] == weight[1] else shapes[0]
        stride = next(
            (v for v in values[5 if binary else 4 :] if isinstance(v, list) and len(v) == 2 and v[0] > 0), [1, 1]
        )
        out = x[0] * weight[0] * math.prod(-(-n // s) for n, s in zip(x[2:], stride, strict=True))
        size = math.prod(x) + math.prod(weight) + out * (2 if binary else 1)
        return 2 * out * math.prod(weight[1:]), size * FLOAT_BYTES
    if name == "winograd_conv":
        x, weight = shapes[0], shapes[1]
        out = math.prod(x) // x[1] * weight[0]
        return 2 * out * math.prod(weight[1:]), (math.prod(x) + math.prod(weight) * 16 // 9 + out) * FLOAT_BYTES
    if name == "fused_cot":
        x = shapes[0]
        pixels, c, static_groups, groups = math.prod(x) // x[1], x[1], values[2], values[8]
        weights = (c * c + c * c // 2 * 2 + c // 2 * 9 * c // 8) // groups
        if static_groups:  # the static context is made inside
            weights += 9 * c * c // static_groups
        maps = 2 if static_groups else 3
        return 2 * pixels * (weights + 9 * c), (maps * math.prod(x) + weights) * FLOAT_BYTES
    if "linear" in name:
        x, out = shapes[0], shapes[2][0]
        return 2 * math.prod(x) * out, (math.prod(x) + x[-1] * out) * FLOAT_BYTES
    return None


def rows(run: Callable[[], Tensor], rounds: int) -> tuple[list[dict[str, Any]], float]:
    """Time of each kind of operator, and of the whole, in milliseconds a call."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        start = time.perf_counter()
        for _ in range(rounds):
            run()
        total = (time.perf_counter() - start) / rounds * 1e3
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(lambda: {"ms": 0.0, "calls": 0.0, "work": None})
    for event in profiled.events():
        shapes = [s for s in event.input_shapes if len(s) == 4][:3]
        key = (event.name, " ".join("x".join(map(str, s)) for s in shapes))
        row = found[key]
        row["ms"] += event.self_cpu_time_total / 1e3 / rounds
        row["calls"] += 1 / rounds
        row["work"] = row["work"] or work(event)
    table = [{"name": name, "shapes": shapes, **row} for (name, shapes), row in found.items()]
    return sorted(table, key=lambda row: -row["ms"]), total


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--model", default="cotnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--least-ms", type=float, default=0.3, help="shorter lines are summed up")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    about = {**harness.machine(), "model": args.model, "batch": args.batch, "size": args.size, "threads": args.threads}
    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        peak, bandwidth = limits()
        model = torch.compile(cotnet.fuse(timm.create_model(args.model).eval()))
        x = torch.randn(args.batch, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
        for _ in range(3):
            model(x)
        table, total = rows(lambda: model(x), args.rounds)
    print(f"{args.model}, batch {args.batch}, {args.size} pixels, {args.threads} threads, float32, ")
    print(f"{about['date']}, torch {torch.__version__}, {about['isa']}: {total:.1f} ms a batch. ")
    print(f"Peak {peak / 1e9:.0f} GFLOP/s, copy {bandwidth / 1e9:.1f} GB/s.\n")
    print("| operator | shapes | calls | ms | at peak | at bandwidth | left |\n|---|---|--:|--:|--:|--:|--:|")
    harness.record(args.json, about, {"ms": total, "gflop_per_s": peak / 1e9, "gb_per_s": bandwidth / 1e9})
    rest, floor = 0.0, 0.0
    for row in table:
        arithmetic, memory = (0.0, 0.0)
        if row["work"]:
            arithmetic = row["work"][0] * row["calls"] / peak * 1e3
            memory = row["work"][1] * row["calls"] / bandwidth * 1e3
        floor += max(arithmetic, memory)
        if row["ms"] < args.least_ms:
            rest += row["ms"]
            continue
        known = (
            f"{arithmetic:.2f} | {memory:.2f} | {row['ms'] - max(arithmetic, memory):.2f}" if row["work"] else "| | "
        )
        print(f"| {row['name'].split('::')[-1]} | {row['shapes']} | {row['calls']:.0f} | {row['ms']:.2f} | {known} |")
    print(f"| the rest | | | {rest:.2f} | | | |")
    print(f"\nThe larger of both limits, summed over the lines: {floor:.1f} ms.")


if __name__ == "__main__":
    main()
