"""Prediction over any number of pictures, batch by batch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cotnet.inference.pictures import Batch, PictureBatches
from cotnet.inference.trainer import quiet_trainer
from cotnet.models.weights_file import WeightsCard


@dataclass(frozen=True)
class Prediction:
    """What a picture shows.

    Attributes:
        path: the picture.
        classes: the likeliest classes, best first; empty where the picture could not be read.
        probabilities: theirs, 0 to 1.
        error: why the picture could not be read, or `None`.
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
    workers: int = 2,
) -> None:
    """Predict pictures and hand each prediction to `write`, in order; memory does not grow with their number.

    Processes that torchrun started take the batches in turn, and the first of them writes.

    Args:
        network: in eval mode.
        card: its class names and preprocessing.
        paths: the pictures, iterated over several times: to count them, and by every worker for itself.
        write: receives one prediction a picture.
        topk: how many classes, at most as many as there are.
        batch_size: pictures at a time.
        workers: processes that decode.
    """
    writer = _Writer(write, card.class_names)
    trainer = quiet_trainer(callbacks=[writer])
    batches = -(-sum(1 for _ in paths) // batch_size)
    rank, processes = trainer.global_rank, trainer.world_size
    writer.rounds = -(-batches // processes)
    own = len(range(rank, batches, processes))
    pictures = PictureBatches(paths, card, batch_size, rank=rank, processes=processes)
    loader = DataLoader(pictures, None, num_workers=0 if own <= 1 else min(workers, own))
    topk = min(topk, len(card.class_names))
    trainer.predict(_TopK(network, topk).eval(), loader, return_predictions=False)
    while writer.rounds:  # a process without a batch in the last round takes part in it all the same
        writer.write_round(trainer, [])


class _TopK(LightningModule):
    def __init__(self, network: nn.Module, topk: int):
        super().__init__()
        self.network, self.topk = network, topk

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[list[list[float]], list[list[int]]]:
        inputs = [x.to(self.device) for _, x in batch if isinstance(x, Tensor)]
        if not inputs:
            return [], []
        top = self.network(torch.stack(inputs)).softmax(1).topk(self.topk)
        return top.values.tolist(), top.indices.tolist()


class _Writer(Callback):
    """Writes batch after batch; of several processes the first one writes what each has of a round."""

    def __init__(self, write: Callable[[Prediction], None], class_names: list[str]):
        self.write, self.class_names, self.rounds = write, class_names, 0

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        rows = zip(*outputs, strict=True)
        predictions = []
        for path, x in batch:
            if isinstance(x, str):
                predictions.append(Prediction(path, [], [], error=x))
            else:
                probabilities, classes = next(rows)
                predictions.append(Prediction(path, [self.class_names[i] for i in classes], probabilities))
        self.write_round(trainer, predictions)

    def write_round(self, trainer: Any, predictions: list[Prediction]) -> None:
        """Write what all processes have of a round; every one of them has to call this."""
        self.rounds -= 1
        gathered: list[Any] | None = [predictions]
        if trainer.world_size > 1:
            gathered = [None] * trainer.world_size if trainer.is_global_zero else None
            torch.distributed.gather_object(predictions, gathered)
        for part in gathered or []:
            for prediction in part:
                self.write(prediction)
