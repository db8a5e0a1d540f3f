"""A run that was stopped and resumed ends with the weights of one that was not, bit for bit."""

import pytest
import torch
from lightning.pytorch import Callback

from cotnet.classification import Classifier
from cotnet.cli import main
from cotnet.cli.train import run
from cotnet.files.weights import load_checkpoint
from cotnet.training.resume import Resume, next_folder

TINY = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--model.drop_rate", "0.1", "--data.size", "8"]
TINY += ["--data.train_per_class", "2", "--data.val_per_class", "1", "--data.batch_size", "14"]
TINY += ["--data.augment", "pad_crop", "--trainer.max_epochs", "3"]


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("fields", [[], ["--model.ema_decay", "0.9", "--model.mixup", "0.2"]])
def test_resumed_equals_unbroken(fields, tmp_path, monkeypatch):
    words = [*TINY, *fields, "--runs", str(tmp_path)]
    run(words)

    class Cut(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise PowerCutError

    with monkeypatch.context() as patch:
        average = Classifier.configure_callbacks
        patch.setattr(Classifier, "configure_callbacks", lambda self: [*average(self), Cut()])
        with pytest.raises(PowerCutError):
            run(words)
    assert load_checkpoint(tmp_path / "embedded" / "2" / "last.ckpt")["position"]["epoch"] == 2
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


def test_run_folders_count_up(tmp_path):
    assert next_folder(tmp_path / "runs", "mine") == tmp_path / "runs" / "mine" / "1"
    (tmp_path / "runs" / "mine" / "7").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "notes").mkdir()
    assert next_folder(tmp_path / "runs", "mine").name == "8"


def test_a_place_where_none_can_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"no run folder can be made in .*file'; name another place by --runs"):
        next_folder(tmp_path / "file", "mine")


def tensors_in(value):
    if isinstance(value, dict):
        return [one for inner in value.values() for one in tensors_in(inner)]
    if isinstance(value, (list, tuple)):
        return [one for inner in value for one in tensors_in(inner)]
    return [value] if isinstance(value, torch.Tensor) else []


def test_a_checkpoint_is_read_once_and_a_resume_keeps_no_tensor_of_it(one_epoch, tmp_path, monkeypatch):
    reads, load = [], torch.load
    monkeypatch.setattr(
        torch,
        "load",
        lambda path, *words, **options: reads.append((path.name, options)) or load(path, *words, **options),
    )
    resume = Resume.read(one_epoch / "last.ckpt")
    assert resume.shapes["network.fc.weight"][0] == 14
    assert resume.position == (1, 0)
    assert resume.steps > 0
    assert not tensors_in(resume.plain)
    reads.clear()
    words = [*TINY, "--model.layer_decay", "0.75", "--runs", str(tmp_path), "--trainer.max_epochs", "2"]
    run([*words, "--ckpt_path", str(one_epoch / "last.ckpt")])
    whole = [name for name, options in reads if not options["mmap"]]
    assert whole == ["last.ckpt", "best.ckpt"]  # the latter for weights.safetensors, at the end
