"""Objects in images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from faster_coco_eval import mask as rle
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from cotnet.detection.drawing import draw_detections
from cotnet.detection.load import load_detector
from cotnet.detection.networks import detection_limits
from cotnet.detection.scores import Result, to_results
from cotnet.models.weights_file import WeightsFile
from cotnet.prediction.inputs import read_image
from cotnet.prediction.model import ImageResult, TrainedModel
from cotnet.prediction.transform import decoding_options

# Width, height, entries of COCO's result format, and whether there may be more.
Answer = tuple[int, int, list[Result], int | None]


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """One object in an image, or all pixels of a class.

    Attributes:
        class_name: What it is.
        category_id: The class's id in the data of training.
        score: How sure the detector is, 0 to 1; None of a segmenter.
        box: Left, top, width and height in pixels of the upright image.
        segmentation: Its pixels as COCO's compressed run lengths, of a network with masks.
    """

    class_name: str
    category_id: int
    score: float | None
    box: tuple[float, float, float, float]
    segmentation: dict[str, Any] | None = None

    @property
    def mask(self) -> np.ndarray | None:
        """Its pixels, bool [H, W], of a network with masks."""
        return None if self.segmentation is None else np.asarray(rle.decode(self.segmentation)).astype(bool)

    @property
    def area(self) -> float:
        """Number of its pixels; without a mask those of the box."""
        return self.box[2] * self.box[3] if self.segmentation is None else int(rle.area(self.segmentation))

    def to_coco(self) -> dict[str, Any]:
        """As an entry of COCO's result format, without the image's id."""
        optional = {"score": self.score, "segmentation": self.segmentation}
        entry = {"category_id": self.category_id, "bbox": list(self.box), "area": self.area, "iscrowd": 0}
        return entry | {key: value for key, value in optional.items() if value is not None}


def to_objects(results: Sequence[Result], category_ids: Sequence[int], names: Sequence[str]) -> list[DetectedObject]:
    """Objects from entries of COCO's result format."""
    name_of = dict(zip(category_ids, names, strict=True))
    return [
        DetectedObject(
            class_name=name_of[one["category_id"]],
            category_id=one["category_id"],
            score=one.get("score"),
            box=tuple(one["bbox"]),
            segmentation=one.get("segmentation"),
        )
        for one in results
    ]


@dataclass(frozen=True, kw_only=True)
class Detections(ImageResult):
    """What is in an image.

    Attributes:
        width: In pixels, upright; 0 where the image could not be read.
        height: In pixels.
        objects: The surest first.
        limit: Where there are as many objects as the detector gives, this number; there may be more in the image.
    """

    width: int = 0
    height: int = 0
    objects: Sequence[DetectedObject] = ()
    limit: int | None = None

    columns: ClassVar[tuple[str, ...]] = ("class", "score", "x", "y", "width", "height")

    def __str__(self) -> str:
        wide = max((len(one.class_name) for one in self.objects), default=0)
        lines = [f"{len(self.objects)} found"]
        for one in self.objects:
            x, y, w, h = one.box
            lines.append(f"  {one.score:6.1%} {one.class_name:{wide}}  {w:.0f} x {h:.0f} at {x:.0f}, {y:.0f}")
        return "\n".join(lines)

    @property
    def notes(self) -> list[str]:
        """Whether the detector's limit has been reached."""
        if self.limit is None:
            return []
        return [
            f"with {self.limit} objects, the most that the detector gives; --box-detections-per-img raises this limit"
        ]

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Class, score and box of each object."""
        for one in self.objects:
            yield one.class_name, f"{one.score:.4f}", *(f"{edge:.1f}" for edge in one.box)


class DetectionModel(TrainedModel[Detections]):
    """A trained detector; calling it takes ``threshold``, the least score of a detection, 0.5 by default.

    Example:
        >>> model = cotnet.load("runs/detect_small/1/weights.safetensors")
        >>> [(one.class_name, one.box) for one in model("street.jpg", threshold=0.7).objects]
        [('car', (12.0, 40.5, 200.0, 120.0))]
    """

    default_batch_size = 4
    result_type = Detections

    @property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """To a tensor [3, H, W] in 0 to 1; the network resizes and normalises by itself."""
        return to_tensor

    @property
    def options(self) -> dict[str, Any]:
        """``threshold``: the least score of a detection."""
        return {"threshold": max(0.5, detection_limits(self.network)[1])}

    def answer(self, inputs: list[Tensor], options: dict[str, Any]) -> Sequence[Answer]:
        """Width, height and what is found, as entries of COCO's result format."""
        ids, limit = self.card.data["category_ids"], detection_limits(self.network)[0]
        answers: list[Answer] = []
        for image, found in zip(inputs, self.network(inputs), strict=True):
            sure = found["scores"] >= options["threshold"]
            results = to_results({part: values[sure] for part, values in found.items()}, 0, ids)
            answers.append((image.shape[-1], image.shape[-2], results, limit if len(results) >= limit else None))
        return answers

    def result(self, image: str, answer: Answer | None, error: str | None) -> Detections:
        """What is found as `Detections`."""
        width, height, results, limit = answer or (0, 0, [], None)
        objects = to_objects(results, self.card.data["category_ids"], self.class_names)
        return Detections(image=image, width=width, height=height, objects=objects, limit=limit, error=error)

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse a ``threshold`` that is no score, or below those that the detector keeps."""
        threshold, lowest = options["threshold"], detection_limits(self.network)[1]
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, got {threshold}")
        if threshold < lowest:
            raise ValueError(
                f"threshold {threshold} is below {lowest}, the least score that the detector keeps; "
                f"load it with min_score={threshold}"
            )

    def draw(self, result: Detections) -> Image.Image:
        """The image of a path with boxes, masks, names and scores."""
        names = dict(zip(self.card.data["category_ids"], self.class_names, strict=True))
        found = [one.to_coco() for one in result.objects]
        return draw_detections(read_image(result.image, **decoding_options(self.card)), found, names, score=0.0)


def load_model(weights: str | Path | WeightsFile, *, device: Any = None, **options: Any) -> DetectionModel:
    """The detector of a weights file; options as of `cotnet.detection.load.load_detector`."""
    return DetectionModel(*load_detector(weights, **options), device=device)
