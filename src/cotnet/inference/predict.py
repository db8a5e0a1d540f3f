"""Prediction over any number of pictures, batch by batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cotnet.inference.pictures import PictureFiles
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
    paths: Sequence[str],
    write: Callable[[Prediction], None],
    *,
    topk: int = 5,
    batch_size: int = 32,
    workers: int = 2,
) -> None:
    """Predict pictures and hand each prediction to `write`, in order; memory does not grow with their number.

    Args:
        network: in eval mode.
        card: its class names and preprocessing.
        paths: the pictures.
        write: receives one prediction a picture.
        topk: how many classes, at most as many as there are.
        batch_size: pictures at a time.
        workers: processes that decode.
    """
    pictures = PictureFiles(paths, card)
    batches = -(-len(paths) // batch_size)
    workers = 0 if batches == 1 else min(workers, batches)
    loader = DataLoader(pictures, batch_size, num_workers=workers, collate_fn=list)
    topk = min(topk, len(card.class_names))
    quiet_trainer(callbacks=[_Writer(write, card.class_names)]).predict(
        _TopK(network, topk), loader, return_predictions=False
    )


Batch = list[tuple[str, Tensor | str]]


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
    def __init__(self, write: Callable[[Prediction], None], class_names: list[str]):
        self.write, self.class_names = write, class_names

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        rows = zip(*outputs, strict=True)
        for path, x in batch:
            if isinstance(x, str):
                self.write(Prediction(path, [], [], error=x))
            else:
                probabilities, classes = next(rows)
                self.write(Prediction(path, [self.class_names[i] for i in classes], probabilities))
