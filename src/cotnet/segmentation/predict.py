"""The class of each pixel of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from cotnet.detection.predict import DetectedObject, to_objects
from cotnet.detection.scores import Result
from cotnet.models.weights_file import WeightsFile
from cotnet.prediction.inputs import read_image
from cotnet.prediction.model import ImageResult, TrainedModel
from cotnet.prediction.transform import decoding_options
from cotnet.segmentation.labels import describe_classes, index_image, paint, regions
from cotnet.segmentation.load import load_segmenter
from cotnet.segmentation.network import segment

# Regions as entries of COCO's format, each pixel's class where it is kept, width and height.
Answer = tuple[int, int, list[Result], np.ndarray | None]


@dataclass(frozen=True, kw_only=True)
class SegmentedImage(ImageResult):
    """What the pixels of an image show.

    Attributes:
        width: In pixels, upright; 0 where the image could not be read.
        height: In pixels.
        objects: The pixels of each class that occurs, without the background.
        labels: Each pixel's class, uint8 [H, W], where it is kept: 0 the background, k the k-th class.
    """

    width: int = 0
    height: int = 0
    objects: Sequence[DetectedObject] = ()
    labels: np.ndarray | None = None

    columns: ClassVar[tuple[str, ...]] = ("class", "pixels", "share")

    def __str__(self) -> str:
        wide = max((len(one.class_name) for one in self.objects), default=0)
        lines = [f"  {self.share(one):6.1%} {one.class_name:{wide}}" for one in self.objects]
        return "\n".join([f"{self.width} x {self.height} pixels", *lines])

    def share(self, one: DetectedObject) -> float:
        """Share of the image's pixels that are of a class."""
        return one.area / (self.width * self.height)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Class, number of pixels, and share of the image."""
        for one in self.objects:
            yield one.class_name, one.area, f"{self.share(one):.6f}"


class SegmentationModel(TrainedModel[SegmentedImage]):
    """A trained segmenter; calling it takes ``keep_labels``, whether results have each pixel's class, True by default.

    Example:
        >>> model = cotnet.load("runs/semantic_small/1/weights.safetensors")
        >>> model("field.jpg").labels.shape
        (480, 640)
    """

    default_batch_size = 4
    result_type = SegmentedImage

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """To a tensor [3, H, W] in 0 to 1; batches are resized and normalised on the device."""
        return to_tensor

    @property
    def size(self) -> int:
        """Shorter side of the network's images, in pixels."""
        return self.card.preprocessing["input_size"][1]

    @property
    def options(self) -> dict[str, Any]:
        """``keep_labels``: whether results have each pixel's class."""
        return {"keep_labels": True}

    def answer(self, inputs: list[Tensor], options: dict[str, Any]) -> Sequence[Answer]:
        """Width, height, the regions of the classes, and each pixel's class where it is kept."""
        ids = self.card.data["category_ids"]
        maps = [labels.cpu().numpy() for labels in segment(self.network, inputs, self.size)]
        return [(x.shape[1], x.shape[0], regions(x, ids), x if options["keep_labels"] else None) for x in maps]

    def result(self, image: str, answer: Answer | None, error: str | None) -> SegmentedImage:
        """Regions and labels as a `SegmentedImage`."""
        width, height, found, labels = answer or (0, 0, [], None)
        objects = to_objects(found, self.card.data["category_ids"], self.class_names)
        return SegmentedImage(image=image, width=width, height=height, objects=objects, labels=labels, error=error)

    def draw(self, result: SegmentedImage) -> Image.Image:
        """The image of a path with the pixels of each class tinted."""
        assert result.labels is not None
        return paint(read_image(result.image, **decoding_options(self.card)), result.labels)

    def draw_mask(self, result: SegmentedImage) -> Image.Image:
        """An image with a palette: the value of each pixel is its class."""
        assert result.labels is not None
        return index_image(result.labels, len(self.class_names) + 1)

    def describe_classes(self) -> list[dict[str, Any]]:
        """What each value of `draw_mask` means."""
        return describe_classes(self.class_names, self.card.data["category_ids"])


def load_model(weights: str | Path | WeightsFile, *, device: Any = None, **options: Any) -> SegmentationModel:
    """The segmenter of a weights file; options as of `cotnet.segmentation.load.load_segmenter`."""
    return SegmentationModel(*load_segmenter(weights, **options), device=device)
