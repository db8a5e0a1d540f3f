"""The record of a set in a weights file leads to the same images, and other sets are matched by their classes."""

import json
import shutil

import pytest

from cotnet.detection import CocoData
from cotnet.detection.coco.source import describe_source, open_source
from cotnet.files.weights import WeightsCard

PREPROCESSING = {"input_size": [3, 64, 96], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "x", "crop_pct": 1.0}


def card(data: CocoData) -> WeightsCard:
    return WeightsCard(
        model="cotnet18", class_names=data.class_names, preprocessing=PREPROCESSING, data=describe_source(data)
    )


def opened(*args, **options) -> CocoData:
    return open_source(*args, batch_size=2, num_workers=0, **options)


@pytest.fixture
def trained(coco_files):
    data = CocoData(str(coco_files.annotations.parent), num_workers=0, val_fraction=0.4)
    data.setup("fit")
    return data


def test_the_recorded_split_is_found_again(trained):
    expected = [image["id"] for image in trained.val_set.annotations.images]
    assert len(expected) == 3
    for path in (None, str(trained.path)):
        again = opened(card(trained), path)
        assert [image["id"] for image in again.val_set.annotations.images] == expected


def test_another_set_is_taken_whole_and_matched_by_name(trained, coco_files, tmp_path, capsys):
    content = json.loads(coco_files.annotations.read_text())
    content["categories"] = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}, {"id": 3, "name": "unused"}]
    for one in content["annotations"]:
        one["category_id"] = {7: 1, 3: 2}[one["category_id"]]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "all.json").write_text(json.dumps(content))
    shutil.copytree(coco_files.images, tmp_path / "other" / "images")
    other = opened(card(trained), str(tmp_path / "other"))
    assert len(other.val_set) == 8
    assert (other.class_names, other.category_ids) == (["blue", "red"], [3, 7])
    assert other.val_set.annotations.objects == coco_files.read().objects


def test_fewer_classes_are_said(trained, coco_files, tmp_path, capsys):
    content = json.loads(coco_files.annotations.read_text())
    content["categories"] = [{"id": 7, "name": "red"}]
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] == 7]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "some.json").write_text(json.dumps(content))
    data = opened(card(trained), annotations="annotations/some.json")
    assert (data.class_names, data.category_ids) == (["blue", "red"], [3, 7])
    assert "some.json: 1 of 2 classes are not in it and get no score: blue" in capsys.readouterr().out


def test_other_classes_are_refused(trained, coco_files):
    coco_files.edit(lambda c: c["categories"][0].update(name="green"))
    with pytest.raises(ValueError, match=r"categories differ: .* has objects of green, .* are blue, red"):
        opened(card(trained))


def test_no_record_is_one_line(trained):
    nothing = WeightsCard(
        model="x", class_names=["a"], preprocessing=PREPROCESSING, data={"init_args": 5, "category_ids": [1]}
    )
    with pytest.raises(ValueError, match=r"do not record the images .*: cotnet validate WEIGHTS DATA"):
        opened(nothing)
