"""Faults that are injected, and what a run makes of them."""

import errno
import multiprocessing
import os
import re
import signal

import pytest
import torch
from safetensors import SafetensorError

from cotnet.classification import Classifier
from cotnet.cli import main
from cotnet.cli.train import run
from cotnet.data import BundledImages
from cotnet.data.shards.writer import write_shards
from cotnet.files import weights as weights_file
from cotnet.files.weights import load_checkpoint
from cotnet.training import checkpoint_io
from cotnet.training.seeding import StepSeeds
from tests.training.tiny import TINY, final_state, same


def words_of(runs, *fields):
    return [*TINY, "--runs", str(runs), "--save_every_n_steps", "1", *fields]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    run(words_of(runs))
    return runs / "embedded" / "1"


@pytest.fixture
def at_batch(monkeypatch):
    """Calls something as a batch of the run starts, counted from 1."""

    def install(number, action):
        calls, seed = [], StepSeeds.on_train_batch_start

        def start(self, trainer, *arguments):
            calls.append(0)
            if len(calls) == number:
                action()
            seed(self, trainer, *arguments)

        monkeypatch.setattr(StepSeeds, "on_train_batch_start", start)

    return install


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits_and_the_run_goes_on(unbroken, tmp_path, at_batch, capfd, number, status):
    before = signal.getsignal(number)
    at_batch(3, lambda: os.kill(os.getpid(), number))
    assert main(["train", *words_of(tmp_path, "--save_every_n_steps", "null")]) == status
    assert signal.getsignal(number) == before
    folder = tmp_path / "embedded" / "1"
    assert load_checkpoint(folder / "last.ckpt")["position"]["batch"] == 3
    assert f"Stopped by a signal (exit status {status})" in (folder / "report.md").read_text()
    run(words_of(tmp_path, "--ckpt_path", "last"))
    assert same(final_state(folder), final_state(unbroken))


def test_a_signal_between_accumulated_batches_waits_for_the_step(tmp_path, at_batch):
    accumulate = ("--trainer.accumulate_grad_batches", "4")
    at_batch(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run(words_of(tmp_path, *accumulate))
    assert load_checkpoint(tmp_path / "embedded" / "1" / "last.ckpt")["position"]["batch"] == 4
    run(words_of(tmp_path, *accumulate, "--ckpt_path", "last"))
    run(words_of(tmp_path, *accumulate))
    assert same(*(final_state(tmp_path / "embedded" / number) for number in "12"))


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1  # one bit, which torch.load alone does not see
        path.write_bytes(content)


@pytest.fixture
def stopped(tmp_path, at_batch, monkeypatch):
    """A run that was stopped in its first epoch."""
    at_batch(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run(words_of(tmp_path))
    monkeypatch.undo()
    return tmp_path / "embedded" / "1"


@pytest.mark.parametrize("how", ["gone", "half", "bit"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(unbroken, stopped, tmp_path, capsys, how):
    damage(stopped / "last.ckpt", how)
    run(words_of(tmp_path, "--ckpt_path", str(stopped / "last.ckpt")))
    assert f"resuming from the one before it, {stopped / 'previous.ckpt'}" in capsys.readouterr().out
    assert same(final_state(tmp_path / "embedded" / "2"), final_state(unbroken))


def test_two_damaged_checkpoints_are_an_error_that_names_both(stopped, tmp_path):
    for name in ("last.ckpt", "previous.ckpt"):
        damage(stopped / name, "bit")
    with pytest.raises(ValueError, match=r"last.ckpt' is damaged.*previous.ckpt' is damaged"):
        run(words_of(tmp_path, "--ckpt_path", "last"))


def test_a_full_disk_stops_the_run_and_leaves_the_last_good_state(unbroken, tmp_path, monkeypatch, capfd):
    written, sync = [], os.fsync

    def fsync(descriptor):
        written.append(descriptor)
        if len(written) > 9:  # a file under each of its names, and its folder, for each of three checkpoints
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_io.os, "fsync", fsync)
        assert main(["train", *words_of(tmp_path)]) == 2
    folder = tmp_path / "embedded" / "1"
    message = capfd.readouterr().err
    assert "last.ckpt: No space left on device; the checkpoints before are intact" in message
    assert len(message.splitlines()) == 1
    assert load_checkpoint(folder / "last.ckpt")["global_step"] == 3
    assert not list(folder.glob("*.partial"))
    run(words_of(tmp_path, "--ckpt_path", "last"))
    assert same(final_state(folder), final_state(unbroken))


def test_a_loader_process_that_dies_takes_the_run_down(tmp_path, at_batch, capfd):
    def kill():
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    at_batch(2, kill)
    fields = ("--data.num_workers", "1", "--data.train_per_class", "20")
    assert main(["train", *words_of(tmp_path, *fields)]) == 2
    # Killed, or ended unexpectedly: whichever of torch's two watchers sees it first.
    error = r"cotnet: error: DataLoader worker \(pid.*\) (is killed by signal: Killed|exited unexpectedly)"
    assert re.search(error, capfd.readouterr().err)
    assert load_checkpoint(tmp_path / "embedded" / "1" / "last.ckpt")["global_step"] >= 1


@pytest.mark.parametrize("where", ["loss", "state"])
def test_what_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path, monkeypatch, capfd, where):
    step = Classifier.training_step

    def broken(self, batch, batch_idx):
        result = step(self, batch, batch_idx)
        if batch_idx == 3 and where == "loss":
            result["loss"] = result["loss"] * float("inf")
        elif batch_idx == 3:
            result["loss"].register_hook(lambda grad: grad * float("nan"))
        return result

    monkeypatch.setattr(Classifier, "training_step", broken)
    assert main(["train", *words_of(tmp_path)]) == 2
    message = capfd.readouterr().err
    what = "the loss is inf at step 4" if where == "loss" else "the network's state is not finite after step 4"
    assert f"{what} (epoch 1, batch 4, learning rate 0.01867)" in message
    assert "images of the batch: number " in message
    folder = tmp_path / "embedded" / "1"
    assert len((folder / "failed_batch.txt").read_text().splitlines()) == 1 + 14
    good = load_checkpoint(folder / "last.ckpt")
    assert good["global_step"] == 3
    assert all(torch.isfinite(value).all() for value in good["state_dict"].values())


def test_on_shards_the_images_of_a_loss_that_is_not_finite_are_named_too(tmp_path, monkeypatch, capfd):
    patches = BundledImages(size=8, train_per_class=2, val_per_class=1)
    write_shards(patches, tmp_path / "s", per_shard=99, say=lambda line: None)
    step = Classifier.training_step

    def broken(self, batch, batch_idx):
        result = step(self, batch, batch_idx)
        return {**result, "loss": result["loss"] * (1.0 if batch_idx < 2 else float("inf"))}

    monkeypatch.setattr(Classifier, "training_step", broken)
    words = ["finetune", "--model.name", "cotnet20_nano", "--model.warmup_epochs", "0", "--data.size", "8"]
    words += ["--data", "WebShards", "--data.root", str(tmp_path / "s"), "--data.batch_size", "7"]
    words += ["--data.num_workers", "0", "--trainer.max_epochs", "1"]
    assert main(["train", *words, "--runs", str(tmp_path / "runs")]) == 2
    message = capfd.readouterr().err
    assert re.search(rf"epoch 1, batch 3, .*images of the batch: \d+ of {tmp_path}/s/train-000000\.tar, ", message)
    names = (tmp_path / "runs" / "finetune" / "1" / "failed_batch.txt").read_text().splitlines()[1:]
    assert len(set(names)) == 7


def test_a_state_broken_by_the_last_batch_of_an_epoch_is_saved_nowhere(tmp_path, monkeypatch, capfd):
    step = Classifier.training_step

    def broken(self, batch, batch_idx):
        result = step(self, batch, batch_idx)
        if batch_idx == 5:
            result["loss"].register_hook(lambda grad: grad * float("nan"))
        return result

    monkeypatch.setattr(Classifier, "training_step", broken)
    assert main(["train", *words_of(tmp_path, "--model.ema_decay", "null")]) == 2
    assert "the network's state is not finite after step 6" in capfd.readouterr().err
    folder = tmp_path / "embedded" / "1"
    assert not (folder / "best.ckpt").exists()
    good = load_checkpoint(folder / "last.ckpt")
    assert all(torch.isfinite(value).all() for value in good["state_dict"].values())


def test_weights_that_cannot_be_written_are_one_line_and_the_report_is_there(tmp_path, monkeypatch, capfd):
    def full(*arguments, **fields):
        raise SafetensorError("Error while serializing: I/O error")

    monkeypatch.setattr(weights_file, "save_file", full)
    assert main(["train", *words_of(tmp_path)]) == 2
    message = capfd.readouterr().err
    assert "weights.safetensors cannot be written: Error while serializing" in message
    assert len(message.splitlines()) == 1
    assert (tmp_path / "embedded" / "1" / "report.md").exists()


def test_a_run_whose_folder_was_moved_keeps_its_best_epoch(tmp_path, at_batch, monkeypatch, capsys):
    at_batch(9, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        run(words_of(tmp_path / "before"))
    monkeypatch.undo()
    (tmp_path / "before").rename(tmp_path / "after")
    run(words_of(tmp_path / "after", "--ckpt_path", "last"))
    assert "cannot be taken over" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.batch_size", "12", "data.batch_size cannot change from 14 to 12"),
        ("seed_everything", "1", "seed_everything cannot change from 0 to 1"),
        ("trainer.accumulate_grad_batches", "2", "accumulate_grad_batches cannot change from 1 to 2"),
        ("trainer.limit_train_batches", "5", "limit_train_batches cannot change from 1.0 to 5"),
        ("data.train_per_class", "7", "data.train_per_class cannot change from 6 to 7"),
    ],
)
def test_what_the_order_depends_on_cannot_change_inside_an_epoch(stopped, tmp_path, field, value, message):
    with pytest.raises(ValueError, match=rf"is of the middle of an epoch, after batch 4 of epoch 1; there .*{message}"):
        run(words_of(tmp_path, f"--{field}", value, "--ckpt_path", "last"))


def test_between_epochs_it_can_and_every_change_is_said(unbroken, tmp_path, capsys):
    changed = ("--data.batch_size", "28", "--seed_everything", "5", "--trainer.max_epochs", "3")
    run(words_of(tmp_path, *changed, "--ckpt_path", str(unbroken / "last.ckpt")))
    said = capsys.readouterr().out
    for line in ("data.batch_size: 14 -> 28", "seed_everything: 0 -> 5", "trainer.max_epochs: 2 -> 3"):
        assert f"changed on the resume: {line}" in said
    state = load_checkpoint(tmp_path / "embedded" / "1" / "last.ckpt")
    assert state["global_step"] == 12 + 3
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] < 0.4 * 28 / 256
    report = (tmp_path / "embedded" / "1" / "report.md").read_text()
    assert "data.batch_size: 14 -> 28" in report
