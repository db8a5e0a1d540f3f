"""What is checked and loaded before a run makes its folder."""

import warnings

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cotnet.training.checkpoint_io import AtomicCheckpointIO
from cotnet.training.limits import check_limits
from cotnet.training.module import TrainingModule
from cotnet.training.protocol import TrainingData
from cotnet.training.resume import Resume, check_order, check_resume, order_of
from cotnet.training.start import read_start


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
        raise ValueError("trainer.plugins cannot contain a CheckpointIO: a run has its own")
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
        model.resumed_from(resume.plain["run"].get("init_from"))
        data.position = resume.position
    elif model.init_from is not None:
        load_start(model, model.init_from)
    data.check_images()
    if resume is not None:  # unusable images have been left out by now
        check_order(resume, order_of(data, trainer, seed))


def load_start(model: TrainingModule, name: str) -> None:
    """Load the weights that a module starts from, and print what of them is not used.

    Args:
        model: The module, with its card.
        name: Weights, see `cotnet.training.start.read_start`.

    Raises:
        ValueError: The file is missing or damaged, or does not fit.
    """
    file = read_start(name, field="model.init_from")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            model.start_from(file)
        except ValueError as error:
            raise ValueError(f"model.init_from {name!r} does not fit {model.name}: {error}") from error
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
