"""Networks measured side by side: time, memory and answers, in every mode of inference."""

from cotnet.bench.candidates import MODES, Setting
from cotnet.bench.figure import draw_times
from cotnet.bench.rows import append_rows, best_modes, read_rows
from cotnet.bench.run import Grid, describe_machine, run_grid

__all__ = [
    "MODES",
    "Grid",
    "Setting",
    "append_rows",
    "best_modes",
    "describe_machine",
    "draw_times",
    "read_rows",
    "run_grid",
]
