"""A training step of one network beside another: images per second, peak memory, and what autograd saves.

    python benchmarks/training_step.py                       # speed, both memory formats, steps of all runs interleaved
    python benchmarks/training_step.py --memory              # peak resident memory, each run in a process of its own
    python benchmarks/training_step.py --activations         # what the forward pass leaves for the backward pass
    python benchmarks/training_step.py --models cotnext50_2x48d resnext50_32x4d --bf16 --compile

A step is the forward pass, cross-entropy, the backward pass and SGD with momentum, on random images. Ratios are of
the first network to the second, each in the memory format in which it is faster (or smaller). With `--unfold` the first
network aggregates by the unfold formulation.

In one process the networks share freed memory: the one that needs the most would meet all the fresh pages. So for speed
the C library is told to keep what is freed, for both; with `--fresh-pages` it is left as it is.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import harness
import timm
import torch
import torch.nn.functional as F
from saved_activations import activation_lines
from torch import Tensor, nn

from cotnet.layers import cot
from cotnet.ops.local_aggregation import reference
from cotnet.ops.local_aggregation.contract import Geometry

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Run:
    """One network in one memory format, with what a step needs."""

    def __init__(self, name: str, memory_format: str, args: argparse.Namespace):
        torch.manual_seed(0)
        self.name, self.memory_format, self.bf16 = name, memory_format, args.bf16
        layout = FORMATS[memory_format]
        model = timm.create_model(name).train().to(memory_format=layout)
        self.optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        self.model: nn.Module = torch.compile(model) if args.compile else model  # type: ignore[assignment]
        self.images = torch.randn(args.batch, 3, args.size, args.size).contiguous(memory_format=layout)
        self.labels = torch.randint(0, model.num_classes, (args.batch,))
        self.seconds: list[float] = []

    def loss(self) -> Tensor:
        """The forward pass."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return F.cross_entropy(self.model(self.images).float(), self.labels)

    def step(self) -> None:
        """One timed training step."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


def speed(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Interleaved steps of every network in every memory format; medians and quartiles."""
    runs = [Run(name, layout, args) for name in args.models for layout in args.formats]
    for number in range(args.warmup + args.rounds):
        for run in runs if number % 2 else reversed(runs):
            run.step()
    rows = []
    for run in runs:
        low, middle, high = statistics.quantiles(run.seconds[args.warmup :], n=4, method="inclusive")
        rows.append(
            {
                "model": run.name,
                "memory_format": run.memory_format,
                "median_ms": round(middle * 1e3, 1),
                "quartiles_ms": [round(low * 1e3, 1), round(high * 1e3, 1)],
                "images_per_s": round(args.batch / middle, 2),
            }
        )
    return rows


def memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak resident memory of three steps, each run in a fresh process; nothing is subtracted."""
    rows = []
    for name in args.models:
        for layout in args.formats:
            command = [sys.executable, __file__, "--one", name, layout, *sys.argv[1:]]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append(json.loads(answer.splitlines()[-1]))
    return rows


def memory_of_one(name: str, memory_format: str, args: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of this process before the first step and after three."""
    run = Run(name, memory_format, args)
    before = harness.peak_mib(resource.RUSAGE_SELF)
    for _ in range(3):
        run.step()
    row = {"model": name, "memory_format": memory_format}
    peak = harness.peak_mib(resource.RUSAGE_SELF)
    return {**row, "peak_mib": round(peak), "before_first_step_mib": round(before)}


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on besides the machine."""
    kept = {k: getattr(args, k) for k in ("batch", "size", "threads", "bf16", "compile", "unfold")}
    malloc = {k: v for k, v in os.environ.items() if k.startswith("MALLOC_") or k == "LD_PRELOAD"}
    return {**kept, "allocator": malloc or "default", "fresh_pages": args.fresh_pages or args.memory}


def unfold(value: Tensor, weight: Tensor, kernel_size: int, *, dilation: int = 1, groups: int = 1) -> Tensor:
    """The aggregation as the published formula is mostly written in plain PyTorch."""
    return reference.aggregate(value, weight, Geometry(kernel_size, 1, dilation, groups))


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--models", nargs=2, default=["cotnet50", "resnet50"], metavar=("FIRST", "SECOND"))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--unfold", action="store_true", help="plain PyTorch in place of the operator")
    parser.add_argument("--fresh-pages", action="store_true", help="leave freed memory to the C library")
    parser.add_argument("--memory", action="store_true", help="peak resident memory in place of speed")
    parser.add_argument("--activations", action="store_true", help="saved tensors in place of speed")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.unfold:
        cot.local_aggregation = unfold  # type: ignore[assignment]
    if args.one:
        print(json.dumps(memory_of_one(*args.one, args)))
        return
    if args.activations:
        for name in args.models:
            print(*activation_lines(name, Run(name, args.formats[-1], args)), sep="\n", end="\n\n")
        return
    if not (args.fresh_pages or args.memory):
        harness.keep_pages()
    about = {**harness.machine(), **settings(args)}
    print(json.dumps(about))
    rows, key = (memory(args), "peak_mib") if args.memory else (speed(args), "median_ms")
    best = [min((row for row in rows if row["model"] == name), key=lambda row: row[key]) for name in args.models]
    for row in rows:
        print(json.dumps(row))
    first, second = best
    if args.memory:
        ratio = {"memory_ratio": round(first[key] / second[key], 3)}
        net = [row[key] - row["before_first_step_mib"] for row in best]
        ratio["memory_ratio_of_the_steps_alone"] = round(net[0] / net[1], 3)
    else:
        ratio = {"speed_ratio": round(second[key] / first[key], 3)}
    summary = {**ratio, "formats": [row["memory_format"] for row in best]}
    print(json.dumps(summary))
    harness.record(args.json, about, {"runs": rows}, summary)


if __name__ == "__main__":
    main()
