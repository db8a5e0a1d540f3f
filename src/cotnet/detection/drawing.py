"""Detections drawn on their images."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.coco.masks import decode_mask
from cotnet.detection.scores import Result
from cotnet.files.atomic import replacing

_MIN_SCORE = 0.5
_COLUMN_WIDTH = 480  # pixels of a sheet


def class_color(label: int) -> tuple[int, int, int]:
    """A strong colour for a class; classes of neighbouring numbers are far apart in hue.

    Args:
        label: Number of the class, from 0.
    """
    red, green, blue = colorsys.hsv_to_rgb((0.61 + 0.381966 * label) % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _is_light(color: tuple[int, int, int]) -> bool:
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def draw_detections(
    image: Image.Image, results: Sequence[Mapping[str, Any]], names: Mapping[int, str], *, score: float = _MIN_SCORE
) -> Image.Image:
    """A copy of an image with boxes, masks, names and scores.

    Args:
        image: In RGB.
        results: Entries of COCO's result format; an entry without a score is an annotation and always drawn.
        names: Names of the classes, by category id.
        score: Minimum score of a detection to be drawn.
    """
    canvas = image.convert("RGB")
    shown = sorted((one for one in results if one.get("score", 1.0) >= score), key=lambda one: one.get("score", 1.0))
    order = {category: index for index, category in enumerate(sorted(names))}
    for one in shown:
        if "segmentation" in one:
            mask = decode_mask(one["segmentation"], canvas.height, canvas.width)
            tint = Image.new("RGB", canvas.size, class_color(order[one["category_id"]]))
            canvas.paste(tint, mask=Image.fromarray((mask * 110).astype(np.uint8)))
    draw = ImageDraw.Draw(canvas)
    line_width = max(1, round(max(canvas.size) / 320))
    font = ImageFont.load_default(max(10, round(max(canvas.size) / 50)))
    for one in shown:
        x, y, width, height = one["bbox"]
        color = class_color(order[one["category_id"]])
        draw.rectangle((x, y, x + max(width, 1), y + max(height, 1)), outline=color, width=line_width)
        text = names[one["category_id"]] + (f" {one['score']:.2f}" if "score" in one else "")
        left, top, right, bottom = draw.textbbox((x, y), text, font=font)
        lift = min(bottom - y, y)
        draw.rectangle((left, top - lift, right, bottom - lift), fill=color)
        draw.text((x, y - lift), text, fill="black" if _is_light(color) else "white", font=font)
    return canvas


def draw_samples(images: CocoDataset, results: Mapping[int, Sequence[Result]], path: Path, *, count: int = 4) -> None:
    """A sheet of images, the annotations above the detections.

    Args:
        images: The images with their annotations.
        results: Detections by image id.
        path: The JPEG to write.
        count: Maximum number of images, the first ones that have an entry in ``results``.
    """
    annotations = images.annotations
    names = dict(zip(annotations.category_ids, annotations.class_names, strict=True))
    seen = [index for index, image in enumerate(annotations.images) if image["id"] in results][:count]
    columns = []
    for index in seen:
        image, image_id = images.open(index), annotations.images[index]["id"]
        truth = [one for one in annotations.objects[image_id] if not one.get("iscrowd", 0)]
        if not images.masks:
            truth = [{key: value for key, value in one.items() if key != "segmentation"} for one in truth]
        pair = [draw_detections(image, truth, names), draw_detections(image, results[image_id], names)]
        height = round(_COLUMN_WIDTH * image.height / image.width)
        columns.append([one.resize((_COLUMN_WIDTH, height)) for one in pair])
    rows = [max(column[row].height for column in columns) for row in (0, 1)]
    sheet = Image.new("RGB", (len(columns) * (_COLUMN_WIDTH + 6) - 6, sum(rows) + 6), "white")
    for number, column in enumerate(columns):
        sheet.paste(column[0], (number * (_COLUMN_WIDTH + 6), 0))
        sheet.paste(column[1], (number * (_COLUMN_WIDTH + 6), rows[0] + 6))
    with replacing(path) as partial:
        sheet.save(partial, format="JPEG", quality=85)
