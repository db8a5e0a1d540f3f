"""A small set in COCO's format, for the tests of detection and segmentation."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cotnet.detection.coco.annotations import read_coco
from cotnet.detection.coco.archive import open_files


@dataclass
class CocoFiles:
    """`images/*` and `annotations.json` in one folder."""

    annotations: Path
    images: Path

    @property
    def files(self):
        return open_files(self.annotations.parent)

    def read(self, **options):
        return read_coco(self.files, "annotations.json", "images", **options)

    def edit(self, change) -> "CocoFiles":
        content = json.loads(self.annotations.read_text())
        change(content)
        self.annotations.write_text(json.dumps(content))
        return self


@pytest.fixture
def coco_files(tmp_path) -> CocoFiles:
    """Eight images of boxes in two colours, polygons and run lengths, one crowd; ids that start anywhere."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(8):
        width, height = (96, 64) if number % 2 else (64, 80)
        image = Image.new("RGB", (width, height), (20, 20, 20))
        draw = ImageDraw.Draw(image)
        images.append({"id": 10 + number, "file_name": f"{number}.png", "width": width, "height": height})
        for part in range(3):
            x, y = int(rng.integers(1, 6)) + 20 * part, int(rng.integers(2, 30))
            w, h = int(rng.integers(8, 15)), int(rng.integers(8, 24))
            kind = int(rng.integers(2))
            draw.rectangle((x, y, x + w - 1, y + h - 1), fill=((220, 40, 40), (40, 40, 220))[kind])
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 + number,
                    "category_id": (7, 3)[kind],
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(number == 3 and part == 0),
                    "segmentation": polygon if part else _runs(x, y, w, h, width, height),
                }
            )
        image.save(folder / f"{number}.png")
    path = tmp_path / "annotations.json"
    categories = [{"id": 7, "name": "red"}, {"id": 3, "name": "blue"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return CocoFiles(path, folder)


def _runs(x: int, y: int, w: int, h: int, width: int, height: int) -> dict:
    """Uncompressed run lengths, column by column, from a run of zeros on."""
    mask = np.zeros((height, width), bool)
    mask[y : y + h, x : x + w] = True
    flat = mask.T.ravel()
    counts = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
    return {"size": [height, width], "counts": counts if not flat[0] else [0, *counts]}
