"""A training step of one network beside another: images per second, peak memory, and what autograd saves.

    python benchmarks/training_step.py                       # speed, both memory formats, steps of all runs interleaved
    python benchmarks/training_step.py --memory              # peak resident memory, each run in a process of its own
    python benchmarks/training_step.py --activations         # what the forward pass leaves for the backward pass
    python benchmarks/training_step.py --models cotnext50_2x48d resnext50_32x4d --bf16 --compile

A step is the forward pass, cross-entropy, the backward pass and SGD with momentum, on random images. Ratios are of
the first network to the second, each in the memory format in which it is faster (or smaller). With `--unfold` the first
network aggregates by the unfold formulation. `--save FILE` appends the results as JSON lines.

In one process the networks share freed memory: the one that needs the most would meet all the fresh pages. So for speed
the C library is told to keep what is freed, for both; with `--fresh-pages` it is left as it is.
"""

import sys

# As a script, this folder comes first, where `operator.py` hides the standard library's module.
sys.path.append(sys.path.pop(0))

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from pages import keep_pages
from saved_activations import activation_lines
from torch import Tensor, nn

import cotnet
from cotnet.layers import cot
from cotnet.ops.local_aggregation import reference

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Run:
    """One network in one memory format, with what a step needs."""

    def __init__(self, name: str, memory_format: str, options: argparse.Namespace):
        torch.manual_seed(0)
        self.name, self.memory_format, self.bf16 = name, memory_format, options.bf16
        layout = FORMATS[memory_format]
        model = timm.create_model(name).train().to(memory_format=layout)
        self.optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        self.model: nn.Module = torch.compile(model) if options.compile else model  # type: ignore[assignment]
        self.images = torch.randn(options.batch, 3, options.size, options.size).contiguous(memory_format=layout)
        self.labels = torch.randint(0, model.num_classes, (options.batch,))
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


def speed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Interleaved steps of every network in every memory format; medians and quartiles."""
    runs = [Run(name, layout, options) for name in options.models for layout in options.formats]
    for number in range(options.warmup + options.rounds):
        for run in runs if number % 2 else reversed(runs):
            run.step()
    rows = []
    for run in runs:
        low, middle, high = statistics.quantiles(run.seconds[options.warmup :], n=4, method="inclusive")
        rows.append(
            {
                "model": run.name,
                "memory_format": run.memory_format,
                "median_ms": round(middle * 1e3, 1),
                "quartiles_ms": [round(low * 1e3, 1), round(high * 1e3, 1)],
                "images_per_s": round(options.batch / middle, 2),
            }
        )
    return rows


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak resident memory of three steps, each run in a fresh process; nothing is subtracted."""
    rows = []
    for name in options.models:
        for layout in options.formats:
            command = [sys.executable, __file__, "--one", name, layout, *sys.argv[1:]]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append(json.loads(answer.splitlines()[-1]))
    return rows


def memory_of_one(name: str, memory_format: str, options: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of this process before the first step and after three."""
    run = Run(name, memory_format, options)
    before = _peak_mib()
    for _ in range(3):
        run.step()
    row = {"model": name, "memory_format": memory_format}
    return {**row, "peak_mib": round(_peak_mib()), "before_first_step_mib": round(before)}


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures hang on."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line for line in cpuinfo.read_text().splitlines() if line.startswith("model name"))
        processor = next(lines, f": {processor}").split(":")[1].strip()
    settings = {k: getattr(options, k) for k in ("batch", "size", "threads", "bf16", "compile", "unfold")}
    versions = {"torch": torch.__version__, "timm": timm.__version__, "cotnet": cotnet.__version__}
    malloc = {k: v for k, v in os.environ.items() if k.startswith("MALLOC_") or k == "LD_PRELOAD"}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "cores": os.cpu_count(),
        **versions,
        **settings,
        "allocator": malloc or "default",
        "fresh_pages": options.fresh_pages or options.memory,
    }


def unfold(value: Tensor, weight: Tensor, kernel_size: int, *, dilation: int = 1, groups: int = 1) -> Tensor:
    """The aggregation as the published formula is mostly written in plain PyTorch."""
    return reference.aggregate(value, weight, kernel_size, 1, dilation, groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--save", type=Path, metavar="FILE", help="append the results as JSON lines")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.unfold:
        cot.local_aggregation = unfold  # type: ignore[assignment]
    if options.one:
        print(json.dumps(memory_of_one(*options.one, options)))
        return
    if options.activations:
        for name in options.models:
            print(*activation_lines(name, Run(name, options.formats[-1], options)), sep="\n", end="\n\n")
        return
    if not (options.fresh_pages or options.memory):
        keep_pages()
    where = machine(options)
    print(json.dumps(where))
    rows, key = (memory(options), "peak_mib") if options.memory else (speed(options), "median_ms")
    best = [min((row for row in rows if row["model"] == name), key=lambda row: row[key]) for name in options.models]
    for row in rows:
        print(json.dumps(row))
    first, second = best
    if options.memory:
        ratio = {"memory_ratio": round(first[key] / second[key], 3)}
        net = [row[key] - row["before_first_step_mib"] for row in best]
        ratio["memory_ratio_of_the_steps_alone"] = round(net[0] / net[1], 3)
    else:
        ratio = {"speed_ratio": round(second[key] / first[key], 3)}
    summary = {**ratio, "formats": [row["memory_format"] for row in best]}
    print(json.dumps(summary))
    if options.save:
        with options.save.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in [{**where, "runs": rows, **summary}])


if __name__ == "__main__":
    main()
