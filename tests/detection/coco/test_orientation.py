"""Images with an EXIF orientation: which pixels the annotations refer to is said, and can be chosen."""

import json

import pytest
from PIL import Image

from cotnet.detection import CocoData


@pytest.fixture
def turned(tmp_path):
    """A set whose image has a red top left quarter as it is stored; gives its folder."""

    def make(orientation: int, *, size=(60, 40), stated=None, info=None):
        (tmp_path / "images").mkdir(exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.new("RGB", size, "black")
        image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
        image.save(tmp_path / "images" / "a.png", exif=exif)
        width, height = stated or size
        content = {
            "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
            "categories": [{"id": 1, "name": "a"}],
            **({"info": info} if info else {}),
        }
        for split in ("train", "val"):
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
        return str(tmp_path)

    return make


def read(path, **options) -> CocoData:
    data = CocoData(path, num_workers=0, flip="none", **options)
    data.setup("fit")
    data.check_images()
    return data


@pytest.mark.parametrize(("orientation", "size"), [(3, (60, 40)), (6, (40, 40)), (2, (60, 40)), (8, (60, 40))])
def test_stored_pixels_are_said(turned, orientation, size, capsys):
    data = read(turned(orientation, size=size))
    out = capsys.readouterr().out
    assert out.count("1 of 1 images have an EXIF orientation: ") == 2
    assert "pass --data.apply_orientation true" in out
    image, _ = data.train_set[0]
    assert image[0, : size[1] // 2, : size[0] // 2].min() == 1  # as it is stored


def test_upright_pixels_are_a_field(turned, capsys):
    data = read(turned(6, stated=(40, 60)), apply_orientation=True)
    image, _ = data.train_set[0]
    assert tuple(image.shape) == (3, 60, 40)
    assert image[0, :30, 20:].min() == 1  # turned by a quarter, the red is at the right
    assert image[0].mean() == 0.25
    assert "EXIF" not in capsys.readouterr().out
    assert CocoData(**data.source).apply_orientation is True


def test_sizes_that_do_not_fit_name_the_field(turned):
    with pytest.raises(ValueError, match=r"60 x 40 pixels, .* says 40 x 60; .* pass --data.apply_orientation true"):
        read(turned(6, stated=(40, 60)))
    with pytest.raises(ValueError, match=r"40 x 60 pixels, .* says 60 x 40; .* pass --data.apply_orientation false"):
        read(turned(6), apply_orientation=True)


def test_a_file_says_itself_what_it_refers_to(turned, capsys):
    """As the files that `cotnet predict` writes do."""
    data = read(turned(6, stated=(40, 60), info={"image_orientation": "upright"}))
    assert tuple(data.train_set[0][0].shape) == (3, 60, 40)
    assert "EXIF" not in capsys.readouterr().out


def test_upright_images_bring_no_notice(turned, capsys):
    read(turned(1))
    read(turned(0))
    assert "EXIF" not in capsys.readouterr().out


def test_sizes_are_read_as_they_are_meant(turned):
    path = turned(6)
    for name in ("train.json", "val.json"):
        file = f"{path}/{name}"
        with open(file) as stream:
            content = json.load(stream)
        content["images"][0].pop("width")
        with open(file, "w") as stream:
            json.dump(content, stream)
    assert tuple(read(path).train_set[0][0].shape) == (3, 40, 60)
    assert tuple(read(path, apply_orientation=True).train_set[0][0].shape) == (3, 60, 40)
