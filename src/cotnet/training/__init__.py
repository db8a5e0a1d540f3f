"""Training on Lightning: a classifier, what a module of any task needs, and what a run shows and leaves behind."""

from cotnet.training.checkpoints import BestCheckpoint, LastCheckpoint
from cotnet.training.metrics import Record
from cotnet.training.module import TrainingModule, class_path
from cotnet.training.progress import Progress
from cotnet.training.resume import find_start, next_folder
from cotnet.training.run import fit, prepare
from cotnet.training.seeding import StepSeeds

__all__ = [
    "BestCheckpoint",
    "LastCheckpoint",
    "Progress",
    "Record",
    "StepSeeds",
    "TrainingModule",
    "class_path",
    "find_start",
    "fit",
    "next_folder",
    "prepare",
]
