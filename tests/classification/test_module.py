"""Fields of a classifier that change how it trains, each by what it does."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from cotnet.classification import Classifier
from cotnet.cli.train import run
from cotnet.files.weights import load_checkpoint, read_weights
from cotnet.training import TrainingModule
from cotnet.training.prepare import load_start

TINY = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--data.size", "8", "--data.batch_size", "14"]
TINY += ["--data.train_per_class", "2", "--data.val_per_class", "1", "--trainer.max_epochs", "1"]


def train(tmp_path, *fields):
    run([*TINY, "--runs", str(tmp_path), *fields])
    return tmp_path / "embedded" / "1"


def test_frozen_parts_keep_weights_and_statistics(tmp_path):
    first = train(tmp_path, "--model.base_lr", "1.0")
    start = ["--model.init_from", str(first / "weights.safetensors")]
    run([*TINY, "--runs", str(tmp_path / "frozen"), *start, "--model.freeze", "[conv1, bn1, layer1]"])
    before, _ = read_weights(first / "weights.safetensors")
    after, _ = read_weights(tmp_path / "frozen" / "embedded" / "1" / "weights.safetensors")
    assert before.keys() == after.keys()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"layer2", "layer3", "fc"}


def test_a_wrong_part_to_freeze_is_named():
    with pytest.raises(ValueError, match="no part 'layer9' in the network; it has conv1"):
        Classifier("cotnet_nano", num_classes=3, freeze=["layer9"])
    whole = [name for name, _ in Classifier("cotnet_nano", num_classes=3).network.named_children()]
    with pytest.raises(ValueError, match="leaves nothing to train"):
        Classifier("cotnet_nano", num_classes=3, freeze=whole)


def test_the_rate_follows_the_real_batch_and_is_said(tmp_path, capsys):
    folder = train(tmp_path, "--model.base_lr", "0.1", "--trainer.accumulate_grad_batches", "2")
    said = "learning rate 0.0109375 = 0.1 x 28 / 256, for batches of 14 images x 1 processes x 2 accumulated"
    assert said in capsys.readouterr().out
    optimizer = load_checkpoint(folder / "last.ckpt")["optimizer_states"][0]
    assert max(group["initial_lr"] for group in optimizer["param_groups"]) == pytest.approx(0.0109375)


@pytest.mark.parametrize(("update", "rates"), [("epoch", {0.0109375}), ("step", {0.0109375, 0.00546875})])
def test_the_rate_changes_by_step_or_by_epoch(tmp_path, update, rates, monkeypatch):
    seen = []
    whole = Classifier.on_train_batch_start
    monkeypatch.setattr(
        Classifier,
        "on_train_batch_start",
        lambda self, *words: (whole(self, *words), seen.append(self._optimizer.param_groups[0]["lr"])),
    )
    train(tmp_path, "--model.base_lr", "0.2", "--model.lr_update", update)
    assert {round(rate, 9) for rate in seen} == rates


def test_a_module_that_cannot_be_sharded_says_so():
    module = TrainingModule()
    module.configure_model()
    module._device_mesh = object()
    with pytest.raises(ValueError, match=r"^a TrainingModule cannot be sharded; use --trainer"):
        module.configure_model()


@pytest.mark.parametrize(("channels_last", "contiguous"), [("true", False), ("false", True)])
def test_layout_of_the_images(channels_last, contiguous):
    module = Classifier("cotnet_nano", num_classes=3, channels_last=channels_last == "true")
    seen = []
    module.network.conv1.register_forward_hook(lambda part, given, y: seen.append((given[0], part.weight)))
    module(torch.randn(2, 3, 8, 8))
    assert all(tensor.is_contiguous() == contiguous for tensor in seen[0])


def test_gradient_checkpointing_computes_blocks_twice():
    counts = {}
    for choice in (False, True):
        module = Classifier("cotnet_nano", num_classes=3, grad_checkpointing=choice)
        runs = []
        module.network.layer1[0].register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        module(torch.randn(2, 3, 8, 8)).sum().backward()
        counts[choice] = len(runs)
    assert counts == {False: 1, True: 2}


def test_a_network_without_checkpointing_is_named(monkeypatch):
    monkeypatch.setattr("cotnet.classification.module.create_network", lambda *_, **__: nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="has no gradient checkpointing"):
        Classifier("cotnet_nano", num_classes=3, grad_checkpointing=True)


def small_network(norm):
    layers = [nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 14)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("normed", [False, True])
def test_a_run_of_accumulated_halves_equals_one_of_wholes_where_no_batch_norm_is(tmp_path, monkeypatch, normed):
    """And where there is one it does not: its statistics are those of a half."""
    norm = nn.BatchNorm2d if normed else lambda width: nn.GroupNorm(2, width)
    monkeypatch.setattr("cotnet.classification.module.create_network", lambda *_, **__: small_network(norm(8)))
    exact = ["--trainer.precision", "64-true", "--model.lr_update", "epoch", "--model.base_lr", "4"]
    train(tmp_path, *exact)
    train(tmp_path, *exact, "--data.batch_size", "7", "--trainer.accumulate_grad_batches", "2")
    whole, halves = (read_weights(tmp_path / "embedded" / n / "weights.safetensors")[0] for n in "12")
    names = [name for name, _ in small_network(norm(8)).named_parameters()]
    difference = max(float((whole[name] - halves[name]).abs().max()) for name in names)
    assert (difference < 1e-12) == (not normed)


def test_compiles_the_network(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, **_: compiled.append(call) or call)
    assert Classifier("cotnet_nano", num_classes=3, compile=True)(torch.randn(2, 3, 8, 8)).shape == (2, 3)
    assert len(compiled) == 1
    Classifier("cotnet_nano", num_classes=3)
    assert len(compiled) == 1


def test_mixed_precision_computes_in_half_and_keeps_weights_whole(tmp_path, monkeypatch):
    seen = set()
    whole = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, x: (y := whole(self, x), seen.add(y.dtype))[0])
    folder = train(tmp_path, "--trainer.precision", "bf16-mixed")
    entries, _ = read_weights(folder / "weights.safetensors")
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in entries.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_starts_from_entries_of_timm_with_another_classifier(tmp_path, name, suffix, capsys):
    torch.manual_seed(0)
    entries = timm.create_model(name, num_classes=5).state_dict()
    path = tmp_path / f"weights.{suffix}"
    save_file(entries, path) if suffix == "safetensors" else torch.save(entries, path)
    module = Classifier(name, num_classes=3)
    load_start(module, path)
    assert "5 classes, the model 3: their classifier is dropped" in capsys.readouterr().out
    own = module.network.state_dict()
    head = module.network.pretrained_cfg["classifier"]
    assert all(torch.equal(own[key], value) for key, value in entries.items() if not key.startswith(head))


def test_starts_from_a_checkpoint_of_a_run(tmp_path):
    folder = train(tmp_path)
    module = Classifier("cotnet_nano", num_classes=14)
    load_start(module, folder / "best.ckpt")
    written, _ = read_weights(folder / "weights.safetensors")
    assert torch.equal(module.network.fc.weight, written["fc.weight"])


def test_damaged_weights_are_named(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_start(Classifier("cotnet_nano", num_classes=3), tmp_path / "weights.safetensors")
