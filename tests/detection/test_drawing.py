import json

import numpy as np
import pytest
from PIL import Image

from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.drawing import draw_detections, draw_samples


@pytest.mark.parametrize("names", [{5: "a cell"}, {5: "a cell", 6: "b"}])
def test_name_and_score_are_drawn_also_of_one_class(names):
    image = Image.new("RGB", (200, 200), "white")
    one = {"category_id": 5, "bbox": [40, 60, 100, 100]}
    truth, sure, surer = (
        np.asarray(draw_detections(image, [entry], names)).astype(int)
        for entry in (one, {**one, "score": 0.8}, {**one, "score": 0.9})
    )
    label = np.s_[40:59, 40:140]  # above the box
    assert (truth[label] != 255).any()
    assert np.abs(sure[label] - truth[label]).sum() > 0
    assert np.abs(surer[label] - sure[label]).sum() > 0


def test_detections_below_the_score_are_not_drawn():
    image = Image.new("RGB", (50, 50), "white")
    drawn = draw_detections(image, [{"category_id": 5, "bbox": [4, 4, 9, 9], "score": 0.4}], {5: "a"})
    assert (np.asarray(drawn) == 255).all()


def test_samples_of_one_class(coco_files, tmp_path):
    def one_class(content):
        content["categories"] = content["categories"][:1]
        for one in content["annotations"]:
            one["category_id"] = content["categories"][0]["id"]

    annotations = coco_files.edit(one_class).read()
    images = CocoDataset(annotations, coco_files.files)
    draw_samples(images, {10: [], 11: []}, tmp_path / "samples.jpg")
    with Image.open(tmp_path / "samples.jpg") as sheet:
        assert sheet.width == 2 * 480 + 6
    assert json.loads(coco_files.annotations.read_text())["categories"] == [{"id": 7, "name": "red"}]
