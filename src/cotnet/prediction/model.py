"""A trained network, ready to be called on images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from cotnet.files.image import UnreadableImageError
from cotnet.files.weights import WeightsCard
from cotnet.prediction.processes import default_device, processes
from cotnet.prediction.stream import stream
from cotnet.prediction.transform import decoding_options


@dataclass(frozen=True, kw_only=True)
class ImageResult(ABC):
    """What a network says of one image; as text, it is what `cotnet predict` prints.

    Attributes:
        image: Its path, or ``image 3`` for the third of those in memory.
        error: A sentence that says why the image could not be read, or None.
    """

    image: str
    error: str | None = None

    columns: ClassVar[tuple[str, ...]]

    @property
    def notes(self) -> list[str]:
        """What else is worth knowing of the image, each as the rest of a sentence about it."""
        return []

    @abstractmethod
    def rows(self) -> Iterator[tuple[object, ...]]:
        """The values of `columns`, for each class or object."""


Result = TypeVar("Result", bound=ImageResult)


class TrainedModel(ABC, Generic[Result]):
    """A network with what it needs to be used on images; calls from several threads do not disturb one another.

    Args:
        network: The network; it is put into eval mode and moved to the device.
        card: The description of the network.
        device: Default this process's accelerator, or the CPU where there is none.

    Attributes:
        network: The network, in eval mode.
        card: Its description, with class names and preprocessing.
        device: The device that it is on.
    """

    default_batch_size: ClassVar[int]
    result_type: ClassVar[type[ImageResult]]

    def __init__(self, network: nn.Module, card: WeightsCard, *, device: str | torch.device | None = None) -> None:
        self.device = default_device(processes()) if device is None else torch.device(device)
        self.network = network.eval().to(self.device)
        self.card = card

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""
        return self.card.class_names

    @property
    @abstractmethod
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """From an RGB image to the network's input; without the network, for the processes that decode."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The options of a call, with their defaults."""

    @abstractmethod
    def answer(self, inputs: list[Tensor], options: dict[str, Any]) -> Sequence[Any]:
        """From inputs on the device to plain answers, one for each.

        Args:
            inputs: As `transform` makes them.
            options: A value for each of the class's options.
        """

    @abstractmethod
    def result(self, image: str, answer: Any, error: str | None) -> Result:
        """The result for an image of a name, from its answer or from the reason why it cannot be read."""

    def check_options(self, options: dict[str, Any]) -> None:
        """Refuse values out of their ranges, before any work.

        Raises:
            ValueError: There is one.
        """

    def predict(
        self, images: Iterable[Any], *, batch_size: int | None = None, num_workers: int = 0, **options: Any
    ) -> Iterator[Result]:
        """Results for any number of images, one after the other in order; memory does not grow with their number.

        An image that cannot be read gives a result with `error`. Of processes that torchrun started rank zero gets all
        results and the others none, but they have to iterate, too.

        Args:
            images: Paths, encoded bytes, images of Pillow, arrays or tensors, as `cotnet.prediction.inputs.read_image`
                takes them; iterated over once.
            batch_size: Images at a time.
            num_workers: Processes that decode images from files.
            options: As of calling the model.

        Raises:
            TypeError: There is no such option.
            ValueError: An option is out of its range.
        """
        if unknown := options.keys() - self.options.keys():
            known = ", ".join(self.options)
            raise TypeError(f"a model for {self.card.task} takes {known}, and not {', '.join(sorted(unknown))}")
        options = self.options | options
        self.check_options(options)
        rows = stream(
            images,
            transform=self.transform,
            answer=lambda inputs: self.answer([x.to(self.device) for x in inputs], options),
            batch_size=batch_size or self.default_batch_size,
            num_workers=num_workers,
            decoding=decoding_options(self.card),
        )
        return (self.result(*row) for row in rows)

    def __call__(self, images: Any, **options: Any) -> Any:
        """The result for an image, or a list of results for a list of images.

        Args:
            images: One image, or a list, tuple, array [N, H, W, 3] or tensor [N, 3, H, W] of them.
            options: See the class.

        Raises:
            UnreadableImageError: One of them cannot be read.
        """
        single = not isinstance(images, (list, tuple)) and getattr(images, "ndim", 0) != 4
        if single:
            images = [images]
        results = list(self.predict(images, **options))
        for result in results:
            if result.error is not None:
                raise UnreadableImageError(result.error)
        return results[0] if single else results
