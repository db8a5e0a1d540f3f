"""`cotnet validate` as a user calls it."""

import json

import pytest
import torch

from cotnet.inference.network import load_network
from cotnet.inference.pictures import PictureFiles, find_pictures
from tests.cli.conftest import CARD


def test_scores_equal_a_plain_count(cotnet_command, weights, pictures):
    status, out, err = cotnet_command("validate", weights, pictures, "--format", "json", "--workers", 0)
    assert (status, err) == (0, "")
    scores = json.loads(out)
    network, card = load_network(weights)
    right = {name: [] for name in CARD.class_names}
    for path, x in PictureFiles(find_pictures([str(pictures)]), card):
        with torch.no_grad():
            named = card.class_names[network(x[None]).argmax()]
        right[path.split("/")[-2]].append(path.split("/")[-2] == named)
    assert scores["per_class"] == {name: pytest.approx(sum(r) / len(r)) for name, r in right.items()}
    assert scores["top1"] == pytest.approx(sum(sum(r) for r in right.values()) / 6)
    assert scores["top5"] == 1
    assert scores["images"] == 6
    assert scores["images_per_s"] > 0


def test_table(cotnet_command, weights, pictures):
    status, out, _ = cotnet_command("validate", weights, pictures)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[:3]] == CARD.class_names
    assert "6 pictures" in out.splitlines()[-1]


def test_errors(cotnet_command, weights, pictures, tmp_path):
    assert "name them: WEIGHTS DATA" in cotnet_command("validate", weights)[2]
    assert "does not exist" in cotnet_command("validate", weights, tmp_path / "absent")[2]
    (pictures / "val" / "cat" / "broken.png").write_bytes(b"no picture")
    for workers in (0, 1):
        status, out, err = cotnet_command("validate", weights, pictures, "--workers", workers)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "broken.png" in err
    (pictures / "val" / "owl").rename(pictures / "val" / "bat")
    status, _, err = cotnet_command("validate", weights, pictures)
    assert status == 2
    assert "bat" in err
