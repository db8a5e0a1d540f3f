"""Studies: networks that differ in one thing, trained alike over several seeds, compared with what was published."""

from cotnet.study.grid import Case, Published, Study, grid, load_study, study_names
from cotnet.study.results import Result, compare
from cotnet.study.run import run_study

__all__ = ["Case", "Published", "Result", "Study", "compare", "grid", "load_study", "run_study", "study_names"]
