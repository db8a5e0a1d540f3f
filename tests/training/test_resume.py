"""A run that was stopped and resumed ends with the weights of one that was not, bit for bit."""

import pytest
import torch

from cotnet.classification import Classifier
from cotnet.cli import main
from cotnet.cli.train import run
from cotnet.files.weights import load_checkpoint
from cotnet.training import Progress

TINY = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--model.drop_rate", "0.1", "--data.size", "8"]
TINY += ["--data.train_per_class", "2", "--data.val_per_class", "1", "--data.batch_size", "14"]
TINY += ["--data.augment", "pad_crop", "--trainer.max_epochs", "3"]


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("fields", [[], ["--model.ema_decay", "0.9", "--model.mixup", "0.2"]])
def test_resumed_equals_unbroken(fields, tmp_path, monkeypatch):
    words = [*TINY, *fields, "--runs", str(tmp_path)]
    run(words)

    def cut(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise PowerCutError
        self._epoch_start = self._top1_sum = 0.0

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_train_epoch_start", cut)
        with pytest.raises(PowerCutError):
            run(words)
    run([*words, "--ckpt_path", str(tmp_path / "embedded" / "2" / "last.ckpt")])
    unbroken, resumed = (load_checkpoint(tmp_path / "embedded" / n / "last.ckpt")["state_dict"] for n in "13")
    assert unbroken.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())


def test_a_changed_setting_is_honoured_on_a_resume(tmp_path):
    words = [*TINY, "--runs", str(tmp_path)]
    run([*words, "--trainer.max_epochs", "1"])
    changed = ["--model.base_lr", "0.032", "--model.momentum", "0.5", "--model.weight_decay", "0.125"]
    run([*words, *changed, "--trainer.max_epochs", "2", "--ckpt_path", str(tmp_path / "embedded" / "1" / "last.ckpt")])
    groups = load_checkpoint(tmp_path / "embedded" / "2" / "last.ckpt")["optimizer_states"][0]["param_groups"]
    assert {group["momentum"] for group in groups} == {0.5}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.125}
    assert max(group["lr"] for group in groups) < 0.032 * 14 / 256


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """A run of one epoch, whose folder no test below may change."""
    runs = tmp_path_factory.mktemp("runs")
    run([*TINY, "--trainer.max_epochs", "1", "--model.layer_decay", "0.75", "--runs", str(runs)])
    return runs / "embedded" / "1"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("freeze", "[conv1]", r"model.freeze cannot change from [] to ['conv1'] on a resume"),
        ("layer_decay", "null", "model.layer_decay cannot change from 0.75 to None on a resume"),
    ],
)
def test_a_refused_resume_leaves_the_run_as_it_was(one_epoch, monkeypatch, capfd, field, value, message, known):
    """Also where the checkpoint does not know the field, as an older one, and torch refuses it."""
    if not known:
        monkeypatch.setattr(Classifier, "optimizer_fields", {})
    names = ("config.yaml", "report.md", "last.ckpt", "metrics.csv")
    before = {name: (one_epoch / name).read_bytes() for name in names}
    words = ["train", *TINY, "--model.layer_decay", "0.75", f"--model.{field}", value, "--ckpt_path", "last"]
    capfd.readouterr()
    assert main([*words, "--runs", str(one_epoch.parents[1])]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line or not known
    assert {name: (one_epoch / name).read_bytes() for name in names} == before
    assert not list(one_epoch.glob("*.partial"))


def test_another_layer_decay_takes_effect(one_epoch, tmp_path):
    words = [*TINY, "--model.layer_decay", "0.5", "--runs", str(tmp_path), "--trainer.max_epochs", "2"]
    run([*words, "--ckpt_path", str(one_epoch / "last.ckpt")])
    groups = load_checkpoint(tmp_path / "embedded" / "1" / "last.ckpt")["optimizer_states"][0]["param_groups"]
    rates = sorted({group["lr"] for group in groups})
    assert rates[-2] == pytest.approx(rates[-1] / 2)
