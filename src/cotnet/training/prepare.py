"""What is checked and loaded before a run makes its folder."""

import warnings
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file

from cotnet.files.weights import read_checkpoint
from cotnet.models import load_official
from cotnet.training.checkpoint_io import AtomicCheckpointIO
from cotnet.training.limits import check_limits
from cotnet.training.module import TrainingModule
from cotnet.training.protocol import TrainingData
from cotnet.training.resume import Resume, check_order, check_resume, order_of


def prepare(
    model: TrainingModule, data: TrainingData, trainer: Trainer, *, seed: int, resume: Resume | None, epochs: int
) -> None:
    """Check that model, data and checkpoint fit together, describe the run, and load the weights to start from.

    Args:
        model: The module to train; receives its card.
        data: What to train on; receives trainer, seed and position.
        trainer: Knows the number of processes.
        seed: The run's seed.
        resume: Checkpoint to resume from, or None.
        epochs: Epoch to train to.

    Raises:
        ValueError: Something does not fit.
    """
    if epochs < 1:
        raise ValueError(f"trainer.max_epochs must be at least 1, got {epochs}")
    if model.warmup_epochs >= epochs:
        raise ValueError(
            f"model.warmup_epochs {model.warmup_epochs:g} must be less than trainer.max_epochs {epochs}; "
            "pass --model.warmup_epochs 0 for a very short run"
        )
    _check_validation(trainer, epochs)
    if type(trainer.strategy.checkpoint_io) not in (TorchCheckpointIO, AtomicCheckpointIO):
        raise ValueError("trainer.plugins cannot hold a CheckpointIO: a run brings its own")
    check_limits(trainer, resume)
    data.trainer = trainer
    data.setup("fit")
    if trainer.overfit_batches:  # type: ignore[attr-defined]
        # Lightning has limited the batches by now; it would fill them with the first images, often of one class.
        data.overfit, trainer.overfit_batches = True, 0.0  # type: ignore[attr-defined]
    model.card = model.describe(data)
    model.check_data(data)
    data.seed = seed
    if resume is not None:
        check_resume(resume, model, model.card, epochs=epochs)
        data.position = resume.position
    elif model.init_from is not None:
        load_start(model, Path(model.init_from))
    data.check_images()
    if resume is not None:  # unusable images have been left out by now
        check_order(resume, order_of(data, trainer, seed))


def load_start(model: TrainingModule, path: Path) -> None:
    """Load the weights that a module starts from, and print what of them is not used.

    Args:
        model: The module.
        path: Weights of a run, a checkpoint of one, or a file of tensors from elsewhere.

    Raises:
        ValueError: The file is missing or damaged, or does not fit.
    """
    if not path.is_file():
        raise ValueError(f"model.init_from {str(path)!r} is not a file")
    try:
        if path.suffix == ".safetensors":  # of any origin: a card is not needed
            entries = load_file(path)
        else:
            entries = read_checkpoint(path)[0] if path.suffix == ".ckpt" else load_official(path)
    except SafetensorError as error:
        raise ValueError(f"model.init_from {str(path)!r} is damaged or no safetensors file: {error}") from error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            model.load_entries(entries)
        except ValueError as error:
            raise ValueError(f"model.init_from {str(path)!r} does not fit {model.name}: {error}") from error
    for warning in caught:
        print(f"note: {warning.message}")


def _check_validation(trainer: Trainer, epochs: int) -> None:
    """The best epoch is found by validation, so there has to be one."""
    every = trainer.check_val_every_n_epoch
    if trainer.limit_val_batches == 0:
        raise ValueError("trainer.limit_val_batches must be above 0: the best epoch is found by validation")
    if every is None or every > epochs:
        raise ValueError(
            f"trainer.check_val_every_n_epoch must be a number up to trainer.max_epochs {epochs}, got {every}: the "
            "best epoch is found by validation"
        )
