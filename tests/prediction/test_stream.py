"""Prediction as a stream."""

import tracemalloc

import pytest
import timm
import torch
from PIL import Image

from cotnet.classification.predict import ClassificationModel
from tests.cards import CARD


@pytest.mark.parametrize("num_workers", [0, 2])
def test_answers_come_in_order_and_while_images_are_still_to_be_read(tmp_path, num_workers):
    paths = []
    for i in range(40):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (32, 32), (6 * i, 0, 0)).save(paths[-1])
    (tmp_path / "7.png").write_bytes(b"")
    model = ClassificationModel(timm.create_model("cotnet_nano", num_classes=3), CARD)
    results = model.predict(iter(paths), topk=9, batch_size=2, num_workers=num_workers)
    answers = [next(results)]
    (tmp_path / "39.png").unlink()  # far more than what the workers have fetched ahead
    answers += results
    assert [answer.image for answer in answers] == paths
    assert [i for i, answer in enumerate(answers) if answer.error] == [7, 39]
    assert all(len(a.class_names) == 3 and sum(a.probabilities) == pytest.approx(1) for a in answers if not a.error)


class _Repeated:
    """One image under many names."""

    def __init__(self, folder, count):
        self.folder, self.count = folder, count

    def __iter__(self):
        return (f"{self.folder}/{'.' + '/.' * (i % 100)}/a.png" for i in range(self.count))


class _Cheap(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def test_memory_does_not_grow_with_the_images(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def peak_kib(count):
        tracemalloc.start()
        seen = sum(p.error is None for p in ClassificationModel(_Cheap(), CARD).predict(_Repeated(tmp_path, count)))
        peak = tracemalloc.get_traced_memory()[1] / 2**10
        tracemalloc.stop()
        assert seen == count
        return peak

    few, many = peak_kib(100), peak_kib(1500)
    # A path alone would be 150 bytes, an answer a kilobyte.
    assert many < few + 100
