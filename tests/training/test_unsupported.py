"""Lightning's callbacks as users add them: they work, or one line says what to use instead."""

import pytest

from cotnet.cli import main
from tests.training.tiny import TINY


@pytest.mark.parametrize(
    ("callback", "instead"),
    [
        ("BackboneFinetuning", "--model.freeze"),
        ("StochasticWeightAveraging", "--model.ema_decay"),
        ("LearningRateFinder", "--find_lr FILE.png"),
        ("BatchSizeFinder", "--data.batch_size"),
        ("GradientAccumulationScheduler", "--trainer.accumulate_grad_batches"),
    ],
)
def test_what_does_not_go_with_a_run_names_what_does(tmp_path, capfd, callback, instead):
    words = ["--trainer.callbacks+", f"lightning.pytorch.callbacks.{callback}", "--runs", str(tmp_path / "runs")]
    arguments = {"StochasticWeightAveraging": "swa_lrs=0.1", "GradientAccumulationScheduler": "scheduling={'1': 2}"}
    if callback in arguments:
        name, value = arguments[callback].split("=")
        words += [f"--trainer.callbacks.{name}", value]
    assert main(["train", "embedded", *TINY, *words]) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert f"trainer.callbacks cannot contain {callback}" in line
    assert instead in line
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_callback_of_ones_own_works_beside_the_runs(tmp_path, capfd):
    words = ["--trainer.callbacks+", "lightning.pytorch.callbacks.ModelCheckpoint"]
    words += ["--trainer.callbacks.dirpath", str(tmp_path / "mine"), "--trainer.callbacks.every_n_epochs", "1"]
    words += ["--trainer.callbacks.save_top_k", "-1", "--runs", str(tmp_path / "runs")]
    assert main(["train", "embedded", *TINY, *words]) == 0, capfd.readouterr().err
    assert len(list((tmp_path / "mine").glob("*.ckpt"))) == 2
    assert {"best.ckpt", "last.ckpt"} <= {path.name for path in (tmp_path / "runs" / "embedded" / "1").iterdir()}
