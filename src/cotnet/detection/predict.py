"""Objects, or the class of each pixel, in any number of pictures, batch by batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from faster_coco_eval import mask as rle
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from cotnet.detection.drawing import draw_detections
from cotnet.detection.pixels import regions
from cotnet.detection.scores import Result, to_results
from cotnet.detection.semantic import segment
from cotnet.inference.pictures import open_picture, read_input
from cotnet.inference.predict import each_picture
from cotnet.models.weights_file import WeightsCard

# Width, height, results and perhaps labels of a picture.
Answer = tuple[int, int, list[Result], np.ndarray | None]


@dataclass(frozen=True)
class Found:
    """What is in a picture.

    Attributes:
        path: the picture.
        width: in pixels, upright; 0 where it could not be read.
        height: in pixels.
        results: entries of COCO's result format, the surest first, or one for each class that pixels belong to; the
            picture's id is its place, from 1.
        error: why the picture could not be read, or `None`.
        labels: of a segmenter, each pixel's class, uint8 [H, W], where they are kept.
    """

    path: str
    width: int
    height: int
    results: list[Result]
    error: str | None = None
    labels: np.ndarray | None = None


def detect(
    network: nn.Module,
    card: WeightsCard,
    paths: Iterable[str],
    write: Callable[[Found], None],
    *,
    threshold: float = 0.5,
    batch_size: int = 1,
    workers: int = 2,
) -> None:
    """Find objects in pictures and hand what is found to `write`, in order, as `inference.predict.each_picture` does.

    Args:
        network: in eval mode.
        card: its category ids.
        paths: the pictures, iterated over several times.
        write: receives what is in each picture.
        threshold: the least score of a detection.
        batch_size: pictures at a time.
        workers: processes that decode.
    """
    ids: list[int] = card.data["category_ids"]

    def answer(network: nn.Module, pictures: list[Tensor]) -> list[Answer]:
        answers: list[Answer] = []
        for picture, found in zip(pictures, network(pictures), strict=True):
            sure = found["scores"] >= threshold
            results = to_results({part: values[sure] for part, values in found.items()}, 0, ids)
            answers.append((picture.shape[-1], picture.shape[-2], results, None))
        return answers

    each_picture(network, answer, _read, paths, _numbered(write), batch_size=batch_size, workers=workers)


def segment_pictures(
    network: nn.Module,
    card: WeightsCard,
    paths: Iterable[str],
    write: Callable[[Found], None],
    *,
    size: int,
    keep_labels: bool = False,
    batch_size: int = 1,
    workers: int = 2,
) -> None:
    """Find each pixel's class in pictures; as `detect` in all else.

    Args:
        network: in eval mode.
        card: its category ids.
        paths: the pictures, iterated over several times.
        write: receives what is in each picture.
        size: shorter side of the network's pictures, in pixels.
        keep_labels: give `write` each pixel's class, too.
        batch_size: pictures at a time.
        workers: processes that decode.
    """
    ids: list[int] = card.data["category_ids"]

    def answer(network: nn.Module, pictures: list[Tensor]) -> list[Answer]:
        maps = [labels.cpu().numpy() for labels in segment(network, pictures, size)]
        return [(x.shape[1], x.shape[0], regions(x, ids), x if keep_labels else None) for x in maps]

    each_picture(network, answer, _read, paths, _numbered(write), batch_size=batch_size, workers=workers)


_read = partial(read_input, transform=to_tensor)


def _numbered(write: Callable[[Found], None]) -> Callable[[str, Answer | None, str | None], None]:
    """Gives `write` the answers to pictures, with the picture's place as its id in the results."""
    count = 0

    def take(path: str, answer: Answer | None, error: str | None) -> None:
        nonlocal count
        count += 1
        width, height, results, labels = answer or (0, 0, [], None)
        write(Found(path, width, height, [{**one, "image_id": count} for one in results], error, labels))

    return take


def to_coco(found: Sequence[Found], card: WeightsCard) -> dict[str, Any]:
    """Pictures, categories and results as one COCO file; detections have their scores."""
    annotations = [one for picture in found for one in picture.results]
    return {
        "images": [
            {"id": number, "file_name": one.path, "width": one.width, "height": one.height}
            for number, one in enumerate(found, 1)
            if one.error is None
        ],
        "categories": [
            {"id": category, "name": name}
            for category, name in zip(card.data["category_ids"], card.class_names, strict=True)
        ],
        "annotations": [
            {"id": number, "iscrowd": 0, "area": _area(one), **one} for number, one in enumerate(annotations, 1)
        ],
    }


def _area(result: Result) -> float:
    if "segmentation" in result:
        return int(rle.area(result["segmentation"]))
    return result["bbox"][2] * result["bbox"][3]


def draw(found: Found, card: WeightsCard) -> Image.Image:
    """The picture with the boxes and masks of its detections."""
    names = dict(zip(card.data["category_ids"], card.class_names, strict=True))
    return draw_detections(open_picture(found.path), found.results, names, score=0.0)
