"""A run that was stopped and resumed ends with the weights of one that was not, bit for bit."""

import pytest
import torch

from cotnet.cli.train import run
from cotnet.models.weights_file import load_checkpoint
from cotnet.train import Progress

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
