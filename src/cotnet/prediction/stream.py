"""Prediction over any number of images, batch by batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cotnet.files.weights import WeightsCard
from cotnet.prediction.inputs import Batch, ImageBatches, ImageReader, Reader
from cotnet.prediction.trainer import quiet_trainer


@dataclass(frozen=True)
class Prediction:
    """What an image shows.

    Attributes:
        path: the image.
        classes: the likeliest classes, best first; empty where the image could not be read.
        probabilities: theirs, 0 to 1.
        error: why the image could not be read, or `None`.
    """

    path: str
    classes: list[str]
    probabilities: list[float]
    error: str | None = None


def predict(
    network: nn.Module,
    card: WeightsCard,
    paths: Iterable[str],
    write: Callable[[Prediction], None],
    *,
    topk: int = 5,
    batch_size: int = 32,
    num_workers: int = 2,
) -> None:
    """Predict images and hand each prediction to `write`, in order, as `each_image` does.

    Args:
        network: in eval mode.
        card: its class names and preprocessing.
        paths: the images, iterated over several times: to count them, and by every worker for itself.
        write: receives one prediction an image.
        topk: how many classes, at most as many as there are.
        batch_size: images at a time.
        num_workers: processes that decode.
    """
    topk = min(topk, len(card.class_names))

    def answer(network: nn.Module, inputs: list[Tensor]) -> list[tuple[list[str], list[float]]]:
        top = network(torch.stack(inputs)).softmax(1).topk(topk)
        names = [[card.class_names[i] for i in row] for row in top.indices.tolist()]
        return list(zip(names, top.values.tolist(), strict=True))

    def take(path: str, found: tuple[list[str], list[float]] | None, error: str | None) -> None:
        classes, probabilities = found or ([], [])
        write(Prediction(path, classes, probabilities, error))

    each_image(network, answer, ImageReader(card), paths, take, batch_size=batch_size, num_workers=num_workers)


def each_image(
    network: nn.Module,
    answer: Callable[[nn.Module, list[Tensor]], Sequence[Any]],
    read: Reader,
    paths: Iterable[str],
    write: Callable[[str, Any, str | None], None],
    *,
    batch_size: int,
    num_workers: int,
) -> None:
    """Put images through a network, in order; memory does not grow with their number.

    Processes that torchrun started take the batches in turn, and the first of them writes.

    Args:
        network: in eval mode.
        answer: the network's plain answers to the inputs of a batch, one for each.
        read: from a path to an input, or to the reason why there is none.
        paths: the images, iterated over several times: to count them, and by every worker for itself.
        write: receives path, answer and no error, or no answer and the reason why the image could not be read.
        batch_size: images at a time.
        num_workers: processes that decode.
    """
    writer = _Writer(write)
    trainer = quiet_trainer(callbacks=[writer])
    batches = -(-sum(1 for _ in paths) // batch_size)
    rank, processes = trainer.global_rank, trainer.world_size
    writer.rounds = -(-batches // processes)
    own = len(range(rank, batches, processes))
    images = ImageBatches(paths, read, batch_size, rank=rank, processes=processes)
    loader = DataLoader(images, None, num_workers=0 if own <= 1 else min(num_workers, own))
    trainer.predict(_Answers(network, answer).eval(), loader, return_predictions=False)
    while writer.rounds:  # a process without a batch in the last round takes part in it all the same
        writer.write_round(trainer, [])


class _Answers(LightningModule):
    def __init__(self, network: nn.Module, answer: Callable[[nn.Module, list[Tensor]], Sequence[Any]]):
        super().__init__()
        self.network, self.answer = network, answer

    def predict_step(self, batch: Batch, batch_idx: int) -> Sequence[Any]:
        inputs = [x.to(self.device) for _, x in batch if isinstance(x, Tensor)]
        return self.answer(self.network, inputs) if inputs else []


class _Writer(Callback):
    """Writes batch after batch; of several processes the first one writes what each has of a round."""

    def __init__(self, write: Callable[[str, Any, str | None], None]):
        self.write, self.rounds = write, 0

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        answers = iter(outputs)
        self.write_round(trainer, [(p, None, x) if isinstance(x, str) else (p, next(answers), None) for p, x in batch])

    def write_round(self, trainer: Any, rows: list[tuple[str, Any, str | None]]) -> None:
        """Write what all processes have of a round; every one of them has to call this."""
        self.rounds -= 1
        gathered: list[Any] | None = [rows]
        if trainer.world_size > 1:
            gathered = [None] * trainer.world_size if trainer.is_global_zero else None
            torch.distributed.gather_object(rows, gathered)
        for part in gathered or []:
            for row in part:
                self.write(*row)
