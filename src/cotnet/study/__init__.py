"""Studies: networks that differ in one thing, trained alike over several seeds, compared with what was published."""

from cotnet.study.grid import Case, Study, load_study, study_names
from cotnet.study.results import Result, compare, summarise

__all__ = ["Case", "Result", "Study", "compare", "load_study", "study_names", "summarise"]
