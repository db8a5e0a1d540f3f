"""Objects in any number of pictures, batch by batch."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_tensor

from cotnet.detection.drawing import draw_detections
from cotnet.detection.scores import Result, to_results
from cotnet.models.rgb import to_rgb
from cotnet.models.weights_file import WeightsCard


@dataclass(frozen=True)
class Found:
    """What is in a picture.

    Attributes:
        path: the picture.
        width: in pixels; 0 where it could not be read.
        height: in pixels.
        results: entries of COCO's result format, the surest first.
        error: why the picture could not be read, or `None`.
    """

    path: str
    width: int
    height: int
    results: list[Result]
    error: str | None = None


def detect(
    network: nn.Module,
    card: WeightsCard,
    paths: Sequence[str],
    *,
    threshold: float = 0.5,
    batch_size: int = 1,
    workers: int = 2,
) -> Iterator[Found]:
    """Objects in pictures, in order; memory does not grow with the number of pictures.

    Args:
        network: in eval mode.
        card: its category ids.
        paths: the pictures; a picture's id is its place among them, from 1.
        threshold: the least score of a detection.
        batch_size: pictures at a time.
        workers: processes that decode.
    """
    pictures = _Files(paths)
    batches = -(-len(paths) // batch_size)
    workers = 0 if batches == 1 else min(workers, batches)
    device = next(network.parameters()).device
    image = 0
    for batch in DataLoader(pictures, batch_size, num_workers=workers, collate_fn=list):
        inputs = [x.to(device) for _, x in batch if isinstance(x, Tensor)]
        with torch.inference_mode():
            outputs = iter(network(inputs) if inputs else [])
        for path, x in batch:
            image += 1
            if isinstance(x, str):
                yield Found(path, 0, 0, [], error=x)
                continue
            found = next(outputs)
            sure = found["scores"] >= threshold
            results = to_results({k: v[sure] for k, v in found.items()}, image, card.data["category_ids"])
            yield Found(path, x.shape[-1], x.shape[-2], results)


class _Files(Dataset[tuple[str, Tensor | str]]):
    """Path and pixels of each picture; in place of the pixels the reason why it cannot be read."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Tensor | str]:
        path = self.paths[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's advice on odd files that it reads all the same
                with Image.open(path) as picture:
                    return path, to_tensor(to_rgb(picture))
        # Decoders raise whatever their format makes them stumble over.
        except Exception as error:
            kind = "it is not a picture" if isinstance(error, Image.UnidentifiedImageError) else str(error)
            return path, " ".join(kind.split()) or type(error).__name__


def to_coco(found: Sequence[Found], card: WeightsCard) -> dict[str, Any]:
    """Pictures, categories and detections as one COCO file, each annotation with its score."""
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
            {"id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3], **one}
            for number, one in enumerate(annotations, 1)
        ],
    }


def draw(found: Found, card: WeightsCard) -> Image.Image:
    """The picture with the boxes and masks of its detections."""
    names = dict(zip(card.data["category_ids"], card.class_names, strict=True))
    with Image.open(found.path) as picture:
        return draw_detections(to_rgb(picture), found.results, names, score=0.0)
