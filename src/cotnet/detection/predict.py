"""Objects, or the class of each pixel, in any number of images, batch by batch."""

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
from cotnet.detection.scores import Result, to_results
from cotnet.files.weights import WeightsCard
from cotnet.prediction.inputs import open_image, read_input
from cotnet.prediction.stream import each_image
from cotnet.segmentation.labels import regions
from cotnet.segmentation.network import segment

# Width, height, results and perhaps labels of an image.
Answer = tuple[int, int, list[Result], np.ndarray | None]


@dataclass(frozen=True)
class Found:
    """What is in an image.

    Attributes:
        path: the image.
        width: in pixels, upright; 0 where it could not be read.
        height: in pixels.
        results: entries of COCO's result format, the surest first, or one for each class that pixels belong to; the
            image's id is its place, from 1.
        error: why the image could not be read, or `None`.
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
    num_workers: int = 2,
) -> None:
    """Find objects in images and hand what is found to `write`, in order, as `inference.predict.each_image` does.

    Args:
        network: in eval mode.
        card: its category ids.
        paths: the images, iterated over several times.
        write: receives what is in each image.
        threshold: the least score of a detection.
        batch_size: images at a time.
        num_workers: processes that decode.
    """
    ids: list[int] = card.data["category_ids"]

    def answer(network: nn.Module, images: list[Tensor]) -> list[Answer]:
        answers: list[Answer] = []
        for image, found in zip(images, network(images), strict=True):
            sure = found["scores"] >= threshold
            results = to_results({part: values[sure] for part, values in found.items()}, 0, ids)
            answers.append((image.shape[-1], image.shape[-2], results, None))
        return answers

    each_image(network, answer, _read, paths, _numbered(write), batch_size=batch_size, num_workers=num_workers)


def segment_images(
    network: nn.Module,
    card: WeightsCard,
    paths: Iterable[str],
    write: Callable[[Found], None],
    *,
    size: int,
    keep_labels: bool = False,
    batch_size: int = 1,
    num_workers: int = 2,
) -> None:
    """Find each pixel's class in images; as `detect` in all else.

    Args:
        network: in eval mode.
        card: its category ids.
        paths: the images, iterated over several times.
        write: receives what is in each image.
        size: shorter side of the network's images, in pixels.
        keep_labels: give `write` each pixel's class, too.
        batch_size: images at a time.
        num_workers: processes that decode.
    """
    ids: list[int] = card.data["category_ids"]

    def answer(network: nn.Module, images: list[Tensor]) -> list[Answer]:
        maps = [labels.cpu().numpy() for labels in segment(network, images, size)]
        return [(x.shape[1], x.shape[0], regions(x, ids), x if keep_labels else None) for x in maps]

    each_image(network, answer, _read, paths, _numbered(write), batch_size=batch_size, num_workers=num_workers)


_read = partial(read_input, transform=to_tensor)


def _numbered(write: Callable[[Found], None]) -> Callable[[str, Answer | None, str | None], None]:
    """Gives `write` the answers to images, with the image's place as its id in the results."""
    count = 0

    def take(path: str, answer: Answer | None, error: str | None) -> None:
        nonlocal count
        count += 1
        width, height, results, labels = answer or (0, 0, [], None)
        write(Found(path, width, height, [{**one, "image_id": count} for one in results], error, labels))

    return take


def to_coco(found: Sequence[Found], card: WeightsCard) -> dict[str, Any]:
    """Images, categories and results as one COCO file; detections have their scores."""
    annotations = [one for image in found for one in image.results]
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
    """The image with the boxes and masks of its detections."""
    names = dict(zip(card.data["category_ids"], card.class_names, strict=True))
    return draw_detections(open_image(found.path), found.results, names, score=0.0)
