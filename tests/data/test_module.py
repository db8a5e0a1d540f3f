"""What every data module has in common: its options, and what training asks of it."""

import inspect

import pytest
from jsonargparse import ArgumentParser

import cotnet.data as modules
from cotnet.data import ImageDataModule

OPTIONS = {name: parameter.default for name, parameter in inspect.signature(ImageDataModule).parameters.items()}
CLASSES = [getattr(modules, name) for name in modules.__all__ if name != "ImageDataModule"]
PLACE = {"CIFAR": "root", "ImageFolder": "root", "WebShards": "root", "NpzPack": "path", "HuggingFace": "path"}


def made(kind, **options):
    place = PLACE.get(kind.__name__)
    return kind(**({} if place is None else {place: "nowhere"}), **options)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_option_is_a_flat_field_of_every_module(kind):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageDataModule, "data")
    place = PLACE.get(kind.__name__)
    words = [f"--data=cotnet.data.{kind.__name__}", *([] if place is None else [f"--data.{place}=nowhere"])]
    fields = parser.parse_args([*words, "--data.batch_size", "7", "--data.skip_unreadable=3"]).data.init_args
    assert OPTIONS.keys() <= vars(fields).keys()
    assert (fields.batch_size, fields.skip_unreadable) == (7, 3)
    assert "options" not in fields
    data = kind(**vars(fields))
    for name in OPTIONS:
        value = getattr(fields, name)
        assert getattr(data, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_unknown_option_is_refused(kind):
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        made(kind, sizes=3)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "data.size must be at least 1, got 0"),
        ({"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "data.num_workers must be at least 0, got -1"),
        ({"skip_unreadable": -1}, "data.skip_unreadable must be at least 0, got -1"),
        ({"crop_pct": 1.5}, "data.crop_pct must be above 0 and at most 1, got 1.5"),
        ({"std": (0.1, 0, 0.1)}, "data.std must be above 0 in every channel"),
        ({"auto_augment": "rand"}, None),
        ({"auto_augment": "best"}, "data.auto_augment must be a RandAugment policy"),
    ],
)
def test_options_are_checked_in_every_module(kind, options, message):
    if message is None:
        assert made(kind, **options).auto_augment == "rand"
        return
    with pytest.raises(ValueError, match=message):
        made(kind, **options)
