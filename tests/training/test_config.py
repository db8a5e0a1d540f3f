"""Fields are the arguments of their classes; what is wrong with one is a sentence that names it and the way out."""

import re

import pytest
import yaml
from lightning.pytorch.callbacks import EarlyStopping

from cotnet.classification import Classifier
from cotnet.data import NpzPack
from cotnet.detection import Detector
from cotnet.training.config import read_config
from cotnet.training.options import assignments, to_words
from cotnet.training.recipe import find_recipe, read_recipe


def read(*words, recipe="embedded"):
    return read_config(read_recipe(find_recipe(str(recipe))), words)


def test_words_go_over_the_recipe_and_are_read_by_their_types():
    words = ["--model.base_lr", "1e-2", "--model.ema_decay", "null", "--data.mean=[0.5, 0.5, 0.5]"]
    words += ["--trainer.max_epochs", "3", "--trainer.limit_train_batches=0.5", "--data.init_args.size=8"]
    words += ["--model.compile", "true", "--seed_everything", "7", "--trainer.max_time", "00:00:10:00"]
    values = read(*words).values
    assert (values.model.name, values.model.base_lr, values.model.ema_decay) == ("cotnet8_nano", 0.01, None)
    assert (values.data.mean, values.data.size, values.model.compile) == ((0.5, 0.5, 0.5), 8, True)
    assert (values.trainer.max_epochs, values.trainer.limit_train_batches, values.seed_everything) == (3, 0.5, 7)


@pytest.mark.parametrize(
    "words",
    [
        ("--data", "NpzPack", "--data.path", "file", "--data.init_args.size=8"),
        ("--data.path", "file", "--data.size=8", "--data=cotnet.data.NpzPack"),
        ("--data.class_path", "cotnet.data.NpzPack", "--data", "{init_args: {path: file, size: 8}}"),
        ("--data", "{class_path: NpzPack, init_args: {path: file}}", "--data.size", "8"),
    ],
)
def test_another_class_keeps_the_fields_that_it_has(words):
    config = read(*words)
    assert config.data is NpzPack
    assert (config.values.data.path, config.values.data.size, config.values.data.batch_size) == ("file", 8, 48)
    assert "train_per_class" not in config.values.data


@pytest.mark.parametrize("name", ["Classifier", "cotnet.classification.Classifier"])
def test_the_class_of_the_model_can_be_named(name):
    config = read("--model", name)
    assert (config.model, config.values.model.name) == (Classifier, "cotnet8_nano")
    assert read("--model", "Detector", "--model.detector", "faster_rcnn").model is Detector


def test_mappings_are_put_over_one_another_and_null_empties_them():
    kwargs = read("--model.kwargs.stem_width", "16", "--model.kwargs", "{mixers: conv}", recipe="distill").values.model
    assert kwargs.kwargs == {"mixers": "conv", "stem_stride": 2, "stem_width": 16}
    assert read("--model.kwargs=null", "--model.kwargs", "{a: 1}", recipe="distill").values.model.kwargs == {"a": 1}
    teacher = read("--model.distillation.weight", "0.25", recipe="distill").values.model.distillation
    assert (teacher.teacher, teacher.weight) == ("tf_efficientnet_lite0", 0.25)
    assert read("--model.distillation", "null", recipe="distill").values.model.distillation is None


def test_callbacks_are_built_by_parts():
    words = ["--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val_top1"]
    config = read(*words, "--trainer.callbacks+=lightning.pytorch.callbacks.Timer")
    stopping, _ = config.parser.instantiate(config.values).trainer.callbacks
    assert isinstance(stopping, EarlyStopping)
    assert stopping.monitor == "val_top1"


def test_the_configuration_is_a_recipe_that_means_the_same(tmp_path):
    words = ["--model.kwargs.a", "1", "--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "x"]
    config = read(*words, recipe="distill")
    (tmp_path / "own.yaml").write_text(config.to_yaml())
    again = read(recipe=tmp_path / "own.yaml")
    assert again.to_yaml() == config.to_yaml()
    assert again.values == config.values
    assert yaml.safe_load(config.to_yaml())["model"]["class_path"] == "cotnet.classification.Classifier"


def test_overrides_of_python_are_words():
    overrides = {"trainer.max_epochs": 3, "data.root": find_recipe("embedded").parent, "model.ema_decay": None}
    overrides |= {"model.freeze": ["conv1"], "model.kwargs": {"a": 1}, "model.compile": True, "model.name": "resnet18"}
    values = dict(assignments(to_words(overrides)))
    assert values["data.root"] == str(overrides["data.root"])
    model = read(*to_words({name: value for name, value in overrides.items() if name != "data.root"})).values.model
    assert (model.freeze, model.kwargs, model.compile, model.name) == (["conv1"], {"a": 1}, True, "resnet18")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model.base_lrr", "1"), "unknown field model.base_lrr; did you mean --model.base_lr 1?"),
        (("--trainer.max_epoch=1",), "unknown field trainer.max_epoch; did you mean --trainer.max_epochs 1?"),
        (("--data.batchsize", "1"), "unknown field data.batchsize; did you mean --data.batch_size 1?"),
        (("--data.root", "x"), "BundledImages brings its images; did you mean cotnet train finetune --data.root x?"),
        (("--model.batch_size", "1"), "did you mean --data.batch_size 1?"),
        (("--model.zzz", "1"), "cotnet train --help model lists the fields"),
        (("--model.num_classes", "3"), "follows from the data"),
        (("--model.base_lr", "fast"), "model.base_lr must be float, got 'fast'"),
        (("--model.base_lr.x", "1"), "unknown field model.base_lr.x; model.base_lr is float"),
        (("--model.ema_decay=often",), "model.ema_decay must be float, got 'often'"),
        (("--model.name", "null", "--data.size", "null"), "data.size must be int, got 'null'"),
        (("--model.compile", "maybe"), "model.compile must be true or false, got 'maybe'"),
        (("--model.freeze", "conv1"), "model.freeze must be a list of str, got 'conv1'"),
        (("--model.kwargs", "big"), "model.kwargs must be a mapping {name: value}, got 'big'"),
        (("--data.size", "2.5"), "data.size must be int, got '2.5'"),
        (("--data.mean", "[1, 2]"), "data.mean must be [float, float, float], got '[1, 2]'"),
        (("--data.augment", "foo"), "data.augment must be one of resized_crop, pad_crop, flip, none, got 'foo'"),
        (("--trainer.limit_val_batches", "x"), "trainer.limit_val_batches must be int or float, got 'x'"),
        (("--model.distillation.teachr", "x"), "unknown field model.distillation.teachr; did you mean"),
        (("--model.distillation.teacher", "x"), "model.distillation.weights is missing"),
        (("--model", "cotnet.detection.Detecter"), "unknown model class 'cotnet.detection.Detecter'; did you mean"),
        (("--model", "Detector", "--model.detecter", "x"), "unknown field model.detecter; did you mean"),
        (("--data", "cotnet.detection.CocoData", "--data.epochs", "3"), "unknown field data.epochs"),
        (("--data", "NpzPac"), "unknown data class 'NpzPac'; did you mean NpzPack?"),
        (("--data", "NpzPack"), "data.path is missing; pass --data.path"),
        (("--data", "os.system"), "data cannot be 'os.system': it does not derive from LightningDataModule"),
        (("--data", "no.such"), "data cannot be 'no.such': No module named 'no'"),
        (("--data.size", "--data.batch_size", "3"), "data.size needs a value"),
        (("--model.base_lr",), "model.base_lr needs a value"),
        (("--trainer", "gpu"), "unexpected --trainer; a field is --trainer.FIELD VALUE"),
        (("--seed_everything", "-4"), "seed_everything must be an integer from 0"),
        (("--seed_everything", "x"), "seed_everything must be int, got 'x'"),
        (("--save_every_n_steps", "0"), "save_every_n_steps must be above 0, got 0"),
    ],
)
def test_what_is_wrong_is_named(words, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modl": {"name": "x"}}, "unknown field modl; did you mean model?"),
        ({"zebra": 1}, "unknown field zebra; fields begin with model, data, trainer"),
        ({"model": {"nam": "x"}}, "unknown field model.nam; did you mean --model.name?"),
        ({"model": {"base_lr": "fast"}}, "model.base_lr must be float, got 'fast'"),
        ({"model": {"base_lr": None}}, "model.base_lr must be float, got None"),
        ({"trainer": {"max_epochs": 1.5}}, "trainer.max_epochs must be int, got 1.5"),
        ({"trainer": {"class_path": "x"}}, "unknown field trainer.class_path"),
        ({"data": {"class_path": "CIFAR", "root": "x"}}, "a class's own fields stand under init_args"),
        ({"data": [1]}, "data must hold fields, got [1]"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path, fields, message):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"base": "embedded", **fields}))
    with pytest.raises(ValueError, match=re.escape(message)):
        read(recipe=tmp_path / "own.yaml")


def test_a_recipe_without_data_is_told_to_name_it(tmp_path):
    (tmp_path / "own.yaml").write_text("model: {name: resnet18}\n")
    with pytest.raises(ValueError, match=r"data\.class_path is missing; pass --data CLASS"):
        read(recipe=tmp_path / "own.yaml")


def test_what_a_constructor_refuses_is_its_own_sentence():
    words = ["--model.distillation.teacher", "x", "--model.distillation.weights", "y"]
    with pytest.raises(ValueError, match=r"^model.distillation.weight must be above 0 and at most 1, got 3.0$"):
        read(*words, "--model.distillation.weight", "3").build()
    with pytest.raises(ValueError, match=r"^data.size must be at least 1, got 0$"):
        read("--data.size", "0").build()
