"""Recipes stand on others, and those of ImageNet are the paper's set-ups, number by number."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from cotnet.cli.train import run
from cotnet.models.family import PUBLISHED_ACCURACY
from cotnet.training.config import read_config
from cotnet.training.recipe import find_recipe, parse_yaml, read_recipe, shipped_recipes

RELEASED = list(json.loads((Path(__file__).parents[1] / "parity" / "state_dict_entries.json").read_text()))
COMPARED = ["resnet50", "resnet101", "resnext50_32x4d", "resnext101_32x4d"]

# What the paper and the released settings say, where a network differs from the rest.
BATCH_OF_8 = {"cotnet50": 640, "se_cotnetd_50": 640, "cotnet101": 448}
DECAY = {"cotnet101": 6e-5, "cotnext101_2x48d": 6e-5}
DROP_PATH = {"se_cotnetd_152": 0.15, "se_cotnetd_152_L": 0.15}
SIZE = {"se_cotnetd_152": 256, "se_cotnetd_152_L": 320, "se_cotnetd_200": 256, "se_cotnetd_270": 256}
CROP = {224: 0.875, 256: 0.888, 320: 0.909}


def read(path: Path) -> Any:
    """Every field that a run takes from a recipe file."""
    return read_config(read_recipe(path), []).values


def test_every_released_network_has_both_set_ups():
    assert len(RELEASED) == 10
    wanted = {f"{setup}/{name}" for setup in ("default", "advanced") for name in RELEASED}
    assert wanted | {f"default/{name}" for name in COMPARED} <= shipped_recipes().keys()


@pytest.mark.parametrize("name", RELEASED)
def test_advanced(name):
    config = read(find_recipe(f"advanced/{name}"))
    model, data = config.model, config.data
    assert (model.name, config.trainer.max_epochs, model.warmup_epochs) == (name, 350, 5)
    assert (model.momentum, model.nesterov, model.label_smoothing) == (0.9, True, 0.1)
    assert (model.base_lr, model.warmup_lr, model.final_lr, model.lr_update) == (0.1, 1e-4, 1e-5, "epoch")
    assert (model.mixup, model.cutmix, model.drop_rate, model.ema_decay) == (0.8, 1.0, 0.25, 0.9999)
    assert model.weight_decay == DECAY.get(name, 4e-5)
    assert model.drop_path_rate == DROP_PATH.get(name, 0.1)
    assert data.batch_size * 8 == BATCH_OF_8.get(name, 512)
    assert (data.size, data.crop_pct) == (SIZE.get(name, 224), CROP[SIZE.get(name, 224)])
    assert (data.augment, data.auto_augment) == ("resized_crop", "rand-m15-n2-mstd0.5-mmax30-cutout")
    assert data.interpolation == "bicubic"


@pytest.mark.parametrize("name", RELEASED + COMPARED)
def test_default(name):
    config = read(find_recipe(f"default/{name}"))
    model, data = config.model, config.data
    assert (model.name, config.trainer.max_epochs, model.warmup_epochs) == (name, 100, 5)
    assert (model.momentum, model.label_smoothing, model.weight_decay) == (0.9, 0.1, 1e-4)
    assert (model.base_lr, model.warmup_lr, model.final_lr, model.lr_update) == (0.1, 0, 0, "step")
    assert (model.mixup, model.cutmix, model.drop_rate, model.drop_path_rate, model.ema_decay) == (0, 0, 0, 0, None)
    assert data.batch_size * 8 == 512
    assert (data.size, data.crop_pct, data.augment, data.auto_augment) == (224, 0.875, "resized_crop", None)


def test_a_teacher_is_a_part_of_a_recipe():
    assert read(find_recipe("distill")).model.distillation.teacher == "tf_efficientnet_lite0"


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith(("default/", "advanced/"))])
def test_the_header_has_command_accuracy_source_and_rate(name):
    text = find_recipe(name).read_text()
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    setup, _, network = name.partition("/")
    assert header.startswith(f"# cotnet train {name} --data.root IMAGENET --trainer.devices 8\n")
    assert "2107.12292" in header
    if setup == "advanced" and network in PUBLISHED_ACCURACY:
        assert "Expected top-1 {} (top-5 {})".format(*PUBLISHED_ACCURACY[network]) in header
    batch = yaml.safe_load(text).get("data", {}).get("init_args", {}).get("batch_size", 64)
    assert f"B = 8 x {batch} = {8 * batch} images a step, so the learning rate peaks at {8 * batch / 2560:g}." in header


def write(folder: Path, name: str, **fields: object) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(fields))
    return path


def test_later_bases_and_own_fields_win(tmp_path):
    write(tmp_path, "one.yaml", model={"base_lr": 0.1, "momentum": 0.5, "weight_decay": 0.5})
    write(tmp_path, "two.yaml", model={"momentum": 0.6, "weight_decay": 0.6})
    own = write(tmp_path, "own.yaml", base=["cifar10", "one.yaml", "two.yaml"], model={"weight_decay": 0.75})
    model = read(own).model
    assert (model.name, model.base_lr, model.momentum, model.weight_decay) == ("cotnet_nano", 0.1, 0.6, 0.75)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "own.yaml"}, "stands on itself"),
        ({"base": ["nowhere.yaml"]}, "stands on 'nowhere.yaml', which is no file beside it and no recipe"),
    ],
)
def test_a_wrong_base_is_named(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(write(tmp_path, "own.yaml", **fields))


@pytest.mark.parametrize(
    ("content", "message"), [(b"a: [", "is no YAML"), (b"- 1", "holds no fields"), (b"\xff\xfe\x00", "is no YAML")]
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, message):
    (tmp_path / "own.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=f"own.yaml' {message}"):
        read_recipe(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("-2.5E4", -25000.0), (".5e1", 5.0), ("1e", "1e"), ("e3", "e3"), ("10", 10)]
)
def test_numbers_with_an_exponent_need_no_point(text, value):
    assert parse_yaml(f"x: {text}") == {"x": value}
    assert type(parse_yaml(text)) is type(value)


@pytest.mark.parametrize("name", ["advanced/cotnet50", "default/resnet50"])
def test_a_set_up_runs(name, tmp_path):
    """One step of all that the set-up asks for, on a smaller network and smaller images."""
    for split in ("train", "val"):
        for kind in ("ash", "birch"):
            (tmp_path / split / kind).mkdir(parents=True)
            for index in range(2):
                Image.effect_noise((40, 30), 80).convert("RGB").save(tmp_path / split / kind / f"{index}.jpg")
    small = [
        "--model.name",
        "cotnet20_nano",
        "--model.warmup_epochs",
        "0",
        "--data.size",
        "16",
        "--data.batch_size",
        "4",
    ]
    data = ["--data.root", str(tmp_path), "--data.num_workers", "0", "--trainer.max_epochs", "1"]
    run([name, *small, *data, "--runs", str(tmp_path / "runs")])
    assert (tmp_path / "runs" / name / "1" / "weights.safetensors").is_file()
