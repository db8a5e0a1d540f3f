"""What every data module has in common: its options, and what training asks of it."""

import inspect

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from PIL import Image

import cotnet.data as modules
from cotnet.data import ImageDataModule, ImageFolder

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
        ({"value_range": (5, 5)}, "data.value_range must be two numbers that rise"),
        ({"max_pixels": 0}, "data.max_pixels must be at least 1, got 0"),
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


def floats(root, *largest, form="f4"):
    """A folder of images that share one grey, each with another largest value."""
    for split in ("train", "val"):
        (root / split / "ash").mkdir(parents=True)
        for index, value in enumerate(largest):
            pixels = np.full((8, 8), 0.5 * largest[0], form)
            pixels[0, 0] = value
            Image.fromarray(pixels).save(root / split / "ash" / f"{index}.tif")
    return root


def served(root, **options):
    options = {"size": 8, "augment": "none", "mean": (0, 0, 0), "std": (1, 1, 1), **options}
    data = ImageFolder(str(root), batch_size=1, num_workers=0, crop_pct=1.0, **options)
    data.setup()
    data.check_images()
    return data


def test_one_grey_of_a_set_has_one_brightness(tmp_path, capsys):
    data = served(floats(tmp_path, 0.98, 1.0, 0.5))
    greys = {float(data.train_set[index][0][0, 7, 7]) for index in range(3)}
    assert len(greys) == 1
    assert "3 images hold floating-point numbers, read as 0 to 1 (data.value_range" in capsys.readouterr().err
    assert "value_range" not in data.preprocessing


def test_a_set_beyond_the_range_of_its_type_is_refused_with_the_range_that_fits(tmp_path):
    root = floats(tmp_path, 0.98, 1.02, 40, 256)
    message = r"values of 3 images, such as .*1\.tif, do not fit .* type; pass --data\.value_range '\[0, 256\]'"
    with pytest.raises(ValueError, match=message):
        served(root)
    data = served(root, value_range=[0, 256])
    assert len({float(data.train_set[index][0][0, 7, 7]) for index in range(4)}) == 1
    assert data.preprocessing["value_range"] == [0, 256]


def test_a_single_image_beyond_the_range_is_named_or_skipped(tmp_path):
    root = floats(tmp_path, 0.98, 1.02)
    with pytest.raises(ValueError, match=r"cannot read the image .*1\.tif: its floating-point numbers go from"):
        served(root)
    data = served(root, skip_unreadable=1)
    assert [name.rsplit("/", 3)[-3:] for name in data.skipped()] == [
        [split, "ash", "1.tif"] for split in ("train", "val")
    ]


def test_the_range_is_the_same_in_memory(tmp_path):
    root = floats(tmp_path, 100, 200)
    one, whole = (served(root, value_range=(0, 200), in_memory=in_memory) for in_memory in (False, True))
    for (image, _), (held, _) in zip(one.val_set, [whole.val_set[0], whole.val_set[1]], strict=True):
        np.testing.assert_allclose(image, held, atol=1e-6)


def test_several_frames_are_counted(tmp_path, capsys):
    root = floats(tmp_path, 1)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(root / "train" / "ash" / "x.gif", save_all=True, append_images=frames[1:])
    served(root)
    assert "1 images have several frames or pages, of which the first is used, such as" in capsys.readouterr().err


def test_the_limit_of_pixels_is_a_field(tmp_path):
    root = floats(tmp_path, 1)
    with pytest.raises(ValueError, match=r"64 pixels exceed the limit of 63\); raise the limit by --data\.max_pixels"):
        served(root, max_pixels=63)
    assert served(root, max_pixels=64)
