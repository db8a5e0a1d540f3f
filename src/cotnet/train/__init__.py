"""Training on Lightning: a classifier, what a module of any task needs, and what a run shows and leaves behind."""

from cotnet.train.checkpoints import BestCheckpoint, LastCheckpoint
from cotnet.train.classifier import Classifier
from cotnet.train.module import TrainingModule, class_path
from cotnet.train.progress import Progress
from cotnet.train.record import Record
from cotnet.train.run import fit, next_folder, prepare
from cotnet.train.seeds import EpochSeeds

__all__ = [
    "BestCheckpoint",
    "Classifier",
    "EpochSeeds",
    "LastCheckpoint",
    "Progress",
    "Record",
    "TrainingModule",
    "class_path",
    "fit",
    "next_folder",
    "prepare",
]
