"""Prediction as a stream."""

import pytest
import timm
from PIL import Image

from cotnet.inference.predict import predict
from tests.cli.conftest import CARD


@pytest.mark.parametrize("workers", [0, 2])
def test_answers_come_in_order_and_while_pictures_are_still_to_be_read(tmp_path, workers):
    paths = []
    for i in range(40):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (32, 32), (6 * i, 0, 0)).save(paths[-1])
    (tmp_path / "7.png").write_bytes(b"")
    network = timm.create_model("cotnet_nano", num_classes=3).eval()
    answers = []

    def write(prediction):
        answers.append(prediction)
        if len(answers) == 1:  # far more than what the workers have fetched ahead
            (tmp_path / "39.png").unlink()

    predict(network, CARD, paths, write, topk=9, batch_size=2, workers=workers)
    assert [answer.path for answer in answers] == paths
    assert [i for i, answer in enumerate(answers) if answer.error] == [7, 39]
    assert all(len(a.classes) == 3 and sum(a.probabilities) == pytest.approx(1) for a in answers if not a.error)
