"""Every sheet of an image from Python, and which layers get one."""

import pytest
import timm
import torch

from cotnet import viz
from cotnet.files.weights import WeightsCard

CARD = WeightsCard(
    model="cotnet_nano",
    class_names=list("abcd"),
    preprocessing={"input_size": [3, 24, 24], "mean": [0.5] * 3, "std": [0.25] * 3},
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("cotnet_nano", num_classes=4)


def test_sheets_and_predictions(network, tmp_path):
    network.train()
    view = viz.view_image(network, CARD, torch.randn(3, 24, 24), tmp_path / "new" / "x", name="x.png", topk=0)
    assert [sheet.name for sheet in view.sheets] == [
        "contexts.png",
        *(f"field-layer{block}.png" for block in ("1.1", "2.1", "3.2")),
    ]
    assert all(sheet.read_bytes().startswith(b"\x89PNG") for sheet in view.sheets)
    assert len(view.fields) == 7
    assert len(view.predictions) == 1
    assert view.predictions[0][0] in "abcd"
    assert network.training


def test_a_head_that_the_layer_lacks_leaves_no_folder(network, tmp_path):
    with pytest.raises(ValueError, match=r"layer1\.1 has heads 0 to 3, got 4"):
        viz.view_image(network, CARD, torch.randn(3, 24, 24), tmp_path / "x", name="x", heads=[4], topk=0)
    assert not (tmp_path / "x").exists()


def test_selected_layers(network):
    assert viz.select_layers(network) == ["layer1.1.mixer", "layer2.1.mixer", "layer3.2.mixer"]
    assert viz.select_layers(network, stages=["res4", "res3"]) == ["layer3.2.mixer", "layer2.1.mixer"]
    assert viz.select_layers(network, layers=["layer2", "layer2.0"]) == ["layer2.0.mixer", "layer2.1.mixer"]
    with pytest.raises(ValueError, match="no CoT layer in 'res7'; there are some in res2, res3, res4"):
        viz.select_layers(network, stages=["res7"])
    resnet = timm.create_model("resnet10t")
    assert viz.select_layers(resnet) == []
    with pytest.raises(ValueError, match="no CoT layer in 'res4'; the network has none"):
        viz.select_layers(resnet, stages=["res4"])
