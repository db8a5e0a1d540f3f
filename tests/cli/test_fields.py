"""The fields as read from the sources are the fields that the classes have, and plain mistakes are found by them."""

import inspect
from pathlib import Path

import pytest

from cotnet.cli.fields import check_fields, fields_of
from cotnet.cli.recipes import find_recipe, read_recipe

EMBEDDED = find_recipe("embedded")


def check(*words: str, recipe: Path = EMBEDDED) -> None:
    check_fields(list(words), read_recipe(recipe))


def test_the_sources_say_what_the_classes_have():
    from lightning.pytorch import Trainer

    import cotnet.data as modules
    from cotnet.classification import Classifier
    from cotnet.detection import CocoData, Detector

    classes = [
        Classifier,
        Detector,
        CocoData,
        Trainer,
        *(getattr(modules, name) for name in modules.__all__ if name != "ImageDataModule"),
    ]
    for one in classes:
        source = inspect.getsourcefile(inspect.unwrap(one.__init__)) or ""
        wanted = list(_parameters(one))
        assert sorted(fields_of(Path(source), one.__name__)) == sorted(wanted), one


def _parameters(kind: type) -> set[str]:
    """The constructor's arguments, with those of the base class where it passes options on."""
    parameters = inspect.signature(kind).parameters.values()
    names = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
    return names if len(names) == len(parameters) else names | _parameters(kind.__bases__[0])


@pytest.mark.parametrize(
    "words",
    [
        ("--model.base_lr", "0.1", "--model.base_lr=.2", "--model.ema_decay", "null", "--trainer.max_epochs", "3"),
        ("--data", "NpzPack", "--data.path", "file", "--data.init_args.size=8"),
        ("--data=cotnet.data.ImageFolder", "--data.root", "folder"),
        ("--data.class_path", "cotnet.data.CIFAR", "--data.classes", "100"),
        ("--data", "elsewhere.Images", "--data.whatever", "1"),
        ("--model.kwargs.stem_width", "16", "--model.kwargs", '{"stem_width": 16}'),
        ("--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "val_top1"),
        ("--model.name", "resnet18.a1_in1k", "--print_config", "--seed_everything", "3"),
    ],
)
def test_what_is_right_passes(words):
    check(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model.base_lrr", "1"), "unknown field model.base_lrr; did you mean --model.base_lr?"),
        (("--trainer.max_epoch=1",), "unknown field trainer.max_epoch; did you mean --trainer.max_epochs?"),
        (("--data.batchsize", "1"), "unknown field data.batchsize; did you mean --data.batch_size?"),
        (("--data.root", "x"), "unknown field data.root"),  # ImageFolder's, and the recipe's data is another
        (("--model.batch_size", "1"), "did you mean --data.batch_size?"),
        (("--model.zzz", "1"), "cotnet train --help model lists the fields"),
        (("--model.num_classes", "3"), "follows from the data"),
        (("--model.base_lr", "fast"), "model.base_lr must be float, got 'fast'"),
        (("--model.ema_decay=often",), "model.ema_decay must be float, got 'often'"),
        (("--data.size", "2.5"), "data.size must be int, got '2.5'"),
        (
            ("--model", "cotnet.detection.Detecter"),
            "unknown model class 'cotnet.detection.Detecter'; did you mean Detector",
        ),
        (
            ("--model", "Detector", "--model.detecter", "x"),
            "unknown field model.detecter; did you mean --model.detector?",
        ),
        (("--data", "cotnet.detection.CocoData", "--data.size", "3"), "unknown field data.size"),
        (("--data", "NpzPac"), "unknown data class 'NpzPac'; did you mean NpzPack?"),
        (("--data.size", "--data.batch_size", "3"), "data.size needs a value"),
        (("--model.base_lr",), "model.base_lr needs a value"),
        (("--seed_everything", "-4"), "seed_everything must be an integer from 0"),
        (("--model.name", "cotnet5"), "unknown model 'cotnet5'; did you mean"),
    ],
)
def test_what_is_wrong_is_named(words, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        check(*words)


@pytest.mark.parametrize(
    ("content", "message"), [(b"a: [", "is no YAML"), (b"- 1", "holds no fields"), (b"\xff\xfe\x00", "is no YAML")]
)
def test_a_recipe_that_is_none_is_named(tmp_path, content, message):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=f"mine.yaml' {message}"):
        check(recipe=tmp_path / "mine.yaml")
