"""A run that `trainer.max_steps` or `trainer.max_time` has ended goes on as if it had never been stopped."""

import pytest
from lightning.pytorch.callbacks import Timer

from cotnet.cli import main
from cotnet.cli.train import run
from cotnet.files.weights import load_checkpoint
from tests.training.tiny import TINY, final_state, same


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    run([*TINY, "--runs", str(runs)])
    return final_state(runs / "embedded" / "1")


@pytest.fixture
def out_of_time(monkeypatch):
    """Makes the time of a run end with a batch, counted from 1."""

    def after(number):
        batches = []

        def remaining(self):
            return 1.0 if len(batches) < number else 0.0

        def end(self, trainer, *arguments):
            batches.append(0)
            trainer.should_stop = trainer.should_stop or len(batches) >= number

        monkeypatch.setattr(Timer, "time_remaining", remaining)
        monkeypatch.setattr(Timer, "on_train_batch_end", end)
        monkeypatch.setattr(Timer, "on_fit_start", lambda *arguments: None)

    return after


@pytest.mark.parametrize(("steps", "place", "batch"), [(3, "epoch 1", 3), (6, "the end of epoch 1", 0)])
def test_max_steps_stops_anywhere_and_the_run_goes_on(unbroken, tmp_path, capsys, steps, place, batch):
    words = [*TINY, "--runs", str(tmp_path)]
    run([*words, "--trainer.max_steps", str(steps)])
    folder = tmp_path / "embedded" / "1"
    status = f"Stopped at {place}, step {steps}, by trainer.max_steps {steps}."
    said, report = capsys.readouterr().out, (folder / "report.md").read_text()
    assert status in said
    assert status in report
    assert ("the trained network is" in said) == (folder / "weights.safetensors").exists() == (batch == 0)
    assert load_checkpoint(folder / "last.ckpt")["position"]["batch"] == batch
    run([*words, "--trainer.max_steps", "12", "--ckpt_path", "last"])
    assert same(final_state(folder), unbroken)
    assert "Complete: 2 epochs." in (folder / "report.md").read_text()


def test_max_time_waits_for_the_step_of_accumulated_batches(tmp_path, out_of_time, monkeypatch):
    words = [*TINY, "--trainer.max_epochs", "1", "--trainer.accumulate_grad_batches", "2", "--runs", str(tmp_path)]
    out_of_time(3)
    run([*words, "--trainer.max_time", "00:00:10:00"])
    folder = tmp_path / "embedded" / "1"
    assert "Stopped at epoch 1, step 2, by trainer.max_time." in (folder / "report.md").read_text()
    assert load_checkpoint(folder / "last.ckpt")["position"]["batch"] == 4
    monkeypatch.undo()
    run([*words, "--ckpt_path", "last"])
    run(words)
    assert same(*(final_state(tmp_path / "embedded" / number) for number in "12"))


def test_a_validation_inside_the_epoch_comes_before_the_stop(tmp_path):
    words = [*TINY, "--trainer.max_epochs", "1", "--trainer.val_check_interval", "3", "--runs", str(tmp_path)]
    run([*words, "--trainer.max_steps", "3"])
    run([*words, "--ckpt_path", "last"])
    run(words)
    assert same(*(final_state(tmp_path / "embedded" / number) for number in "12"))


def test_a_limit_that_is_reached_already_is_refused(tmp_path, capfd):
    words = ["train", *TINY, "--runs", str(tmp_path)]
    assert main([*words, "--trainer.max_steps", "3", "--trainer.max_time", "00:01:00:00"]) == 0
    report = (tmp_path / "embedded" / "1" / "report.md").read_text()
    again = [*words, "--ckpt_path", "last"]
    for field, value, message in (
        ("max_steps", "3", "has already 3 steps of trainer.max_steps 3; continue with --trainer.max_steps 4 or more"),
        ("max_time", "00:00:00:00", "trainer.max_time 0 s, which counts over all starts"),
    ):
        capfd.readouterr()
        assert main([*again, f"--trainer.{field}", value]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line
    assert (tmp_path / "embedded" / "1" / "report.md").read_text() == report
