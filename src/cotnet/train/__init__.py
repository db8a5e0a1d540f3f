"""Training on Lightning: a classifier, what a module of any task needs, and what a run shows and leaves behind."""

from cotnet.train.checkpoints import BestCheckpoint, LastCheckpoint
from cotnet.train.classifier import Classifier
from cotnet.train.module import TrainingModule, class_path
from cotnet.train.progress import Progress
from cotnet.train.record import Record
from cotnet.train.resume import find_start, next_folder
from cotnet.train.run import fit, prepare
from cotnet.train.seeds import StepSeeds

__all__ = [
    "BestCheckpoint",
    "Classifier",
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
