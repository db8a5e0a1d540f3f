"""The likeliest classes of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from cotnet.classification.load import load_network
from cotnet.models.weights_file import WeightsFile
from cotnet.prediction.model import ImageResult, TrainedModel
from cotnet.prediction.transform import input_transform


@dataclass(frozen=True, kw_only=True)
class Prediction(ImageResult):
    """What an image shows.

    Attributes:
        class_names: The likeliest classes, best first; empty where the image could not be read.
        probabilities: Theirs, 0 to 1.
    """

    class_names: Sequence[str] = ()
    probabilities: Sequence[float] = ()

    columns: ClassVar[tuple[str, ...]] = ("rank", "class", "probability")

    def __str__(self) -> str:
        return "  ".join(f"{p:6.1%} {name}" for name, p in zip(self.class_names, self.probabilities, strict=True))

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Rank from 1, class and probability."""
        for rank, (name, p) in enumerate(zip(self.class_names, self.probabilities, strict=True), 1):
            yield rank, name, f"{p:.6f}"

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        pairs = zip(self.class_names, self.probabilities, strict=True)
        predictions = [{"class": name, "probability": round(p, 6)} for name, p in pairs]
        error = {} if self.error is None else {"error": self.error}
        return {"path": self.image, "predictions": predictions, **error}


class ClassificationModel(TrainedModel[Prediction]):
    """A trained classifier; calling it takes ``topk``, the number of classes to name, 5 by default.

    Example:
        >>> model = cotnet.load("runs/finetune/1/weights.safetensors")
        >>> model("photo.jpg").class_names[0]
        'cat'
    """

    default_batch_size = 32
    result_type = Prediction

    @cached_property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """Resized, cropped and normalised as the card says: [3, H, W]."""
        return input_transform(self.card)

    @property
    def options(self) -> dict[str, Any]:
        """``topk``: the number of classes to name."""
        return {"topk": 5}

    def answer(self, inputs: list[Tensor], options: dict[str, Any]) -> Sequence[tuple[list[str], list[float]]]:
        """Names and probabilities of the likeliest classes."""
        top = self.network(torch.stack(inputs)).softmax(1).topk(min(options["topk"], len(self.class_names)))
        names = [[self.class_names[i] for i in row] for row in top.indices.tolist()]
        return list(zip(names, top.values.tolist(), strict=True))

    def result(self, image: str, answer: tuple[list[str], list[float]] | None, error: str | None) -> Prediction:
        """Names and probabilities as a `Prediction`."""
        names, probabilities = answer or ((), ())
        return Prediction(image=image, class_names=names, probabilities=probabilities, error=error)

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse a ``topk`` below 1."""
        if options["topk"] < 1:
            raise ValueError(f"topk must be at least 1, got {options['topk']}")


def load_model(weights: str | Path | WeightsFile, *, device: Any = None, **options: Any) -> ClassificationModel:
    """The classifier of a weights file; options as of `cotnet.classification.load.load_network`."""
    return ClassificationModel(*load_network(weights, **options), device=device)
