"""A grid of networks, modes, float types and batches, measured group by group."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from cotnet._version import __version__
from cotnet.bench.candidates import MODES, Candidate, Setting
from cotnet.bench.measure import in_child, measure_memory, measure_times
from cotnet.bench.peers import find_models, published_size
from cotnet.bench.rows import Row, append_rows, to_rows
from cotnet.files.machine import available_cpus, processor, versions

_DEFAULT_BASELINE = "resnet50"


@dataclass(frozen=True)
class Grid:
    """What to measure: every network in every mode, float type and batch size.

    Attributes:
        models: Names in timm's registry, or of peers.
        baseline: The network that ratios refer to.
        modes: Modes of inference.
        dtypes: Float types, ``"float32"`` or ``"bfloat16"``.
        batches: Images per call.
        size: Side of the images in pixels; by default that which each network is published for.
    """

    models: Sequence[str]
    baseline: str
    modes: Sequence[str] = MODES
    dtypes: Sequence[str] = ("float32", "bfloat16")
    batches: Sequence[int] = (1, 8)
    size: int | None = None

    @classmethod
    def of(cls, models: Sequence[str], *, baseline: str | None = None, **options: Any) -> "Grid":
        """A grid of networks by name or pattern.

        Args:
            models: Names, or patterns with ``*`` and ``?``.
            baseline: Name of the baseline; by default resnet50 if it is among the models, else the first of them.
            **options: Further attributes.

        Raises:
            ValueError: A name is unknown.
        """
        names = find_models(models)
        default = _DEFAULT_BASELINE if _DEFAULT_BASELINE in names else names[0]
        return cls(names, find_models([baseline or default])[0], **options)

    def groups(self, per_group: int) -> list[list[str]]:
        """The networks in groups of ``per_group``, the baseline in front of each group."""
        others = [model for model in self.models if model != self.baseline]
        parts = [others[i : i + per_group] for i in range(0, len(others), per_group)] or [[]]
        return [[self.baseline, *part] for part in parts]

    def candidates(self, models: Sequence[str]) -> list[Candidate]:
        """Everything to measure of some networks."""
        return [
            Candidate(model, mode, dtype, batch, self.size or published_size(model))
            for dtype, batch, model, mode in product(self.dtypes, self.batches, models, self.modes)
        ]


def run_grid(
    grid: Grid,
    setting: Setting,
    *,
    per_group: int = 2,
    memory: bool = True,
    json_lines: str | Path | None = None,
    progress: Callable[[str], object] | None = None,
) -> list[Row]:
    """Measure a grid. The candidates of a group run in turn, so that a drift of the machine affects them all alike.

    Args:
        grid: What to measure.
        setting: How to measure it; exported networks are written to a temporary folder.
        per_group: Networks that are in memory at once beside the baseline.
        memory: Measure peak memory, which takes long: each candidate gets a process of its own.
        json_lines: A file to which each group's rows are appended, with ``describe_machine``.
        progress: Called with a line of text before each group.

    Returns:
        The rows; those of the baseline come from the first group.

    Raises:
        OSError: The file cannot be written.
        RuntimeError: A measuring process failed.
    """
    rows: list[Row] = []
    common = {**describe_machine(setting), "baseline": grid.baseline}
    groups = grid.groups(per_group)
    with tempfile.TemporaryDirectory(prefix="cotnet-bench-") as folder:
        setting = replace(setting, folder=Path(folder))
        for number, models in enumerate(groups, 1):
            if progress is not None:
                progress(f"group {number} of {len(groups)}: {', '.join(models)}")
            of_group = _measure_group(grid.candidates(models), setting, grid.baseline, memory=memory)
            if json_lines is not None:
                append_rows(json_lines, ({**common, "group": number, **row} for row in of_group))
            rows += [row for row in of_group if number == 1 or row["model"] != grid.baseline]
    return rows


def describe_machine(setting: Setting) -> dict[str, Any]:
    """What the figures depend on: date, machine, setting and versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{available_cpus()} x {processor()}",
        "threads": setting.threads,
        "layout": setting.layout,
        "blocks": setting.blocks,
        "versions": {"cotnet": __version__, **versions("torch", "timm", "onnxruntime", "openvino")},
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def _measure_group(candidates: Sequence[Candidate], setting: Setting, baseline: str, *, memory: bool) -> list[Row]:
    measurements = in_child(measure_times, candidates, setting)
    peaks = [in_child(measure_memory, m.candidate, setting) if memory and m.times else None for m in measurements]
    return to_rows(measurements, peaks, baseline)
