"""Exported networks: the same answers in every runtime at any size and batch, or no artefact at all."""

import dataclasses
import json

import pytest
import torch
from PIL import Image
from timm.layers import BlurPool2d
from torch import nn

from cotnet import CoTLayer, CoXtLayer
from cotnet.classification.load import load_network
from cotnet.exporting import export as module
from cotnet.exporting.comparison import compare, relative_error
from cotnet.exporting.export import export
from cotnet.exporting.formats import export_files, missing_packages
from cotnet.exporting.program import KEY, OPSET, Exporter
from cotnet.exporting.runtimes import load_exported, open_onnx, open_openvino, open_torch
from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import input_transform
from tests.cards import CARD

FORMATS = ["torch", "onnx", "openvino"]


class Small(nn.Module):
    """Both layers, and every way of the family to change the size."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            CoTLayer(16),
            nn.BatchNorm2d(16),
            BlurPool2d(16, filt_size=3, stride=2),
            CoXtLayer(16),
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.AvgPool2d(3, 2, padding=1),
        )
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = Small().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """Every format once, with what was reported."""
    for form in FORMATS:
        if missing := missing_packages(form):
            pytest.skip(missing)
    stem = tmp_path_factory.mktemp("export") / "small.v1"
    reports = {report.form: report for report in export(network, CARD, stem, FORMATS, read=_read)}
    assert sorted(stem.parent.iterdir()) == sorted(path for report in reports.values() for path in report.files)
    return stem, reports


def _read(path):
    return read_input(path, input_transform(CARD))


def _open(stem, form):
    openers = {"torch": open_torch, "onnx": open_onnx, "openvino": open_openvino}
    return openers[form](export_files(form, stem)[0])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 33, 47), (5, 3, 64, 16)])
def test_answers_at_sizes_and_batches_that_the_export_never_saw(network, exported, form, shape):
    x = torch.randn(shape)
    with torch.no_grad():
        assert relative_error(_open(exported[0], form)(x), network(x)) < 1e-5


@pytest.mark.parametrize("form", FORMATS)
def test_the_description_is_inside_and_beside(exported, form):
    stem, reports = exported
    beside = json.loads(export_files(form, stem)[-1].read_text())
    inside = _open(stem, form).description
    assert inside == {key: value for key, value in beside.items() if key != "parity"}
    assert (inside["class_names"], inside["preprocessing"]) == (CARD.class_names, CARD.preprocessing)
    assert inside["input"]["shape"] == ["batch", 3, "height", "width"]
    assert inside.get("opset") == (None if form == "torch" else OPSET)
    report = reports[form]
    assert report.description == inside
    assert set(report.comparison.errors) == {(1, 32, 32), (3, 32, 32), (1, 64, 32), (3, 64, 32)}
    assert report.comparison.fault is None
    assert beside["parity"]["top1_agreement"] == 1


def test_onnx_is_standard_with_named_axes(exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(export_files("onnx", exported[0])[0])
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not {"BatchNormalization"} & {node.op_type for node in model.graph.node[:2]}
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 3, "height", "width",
    ]  # fmt: skip
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [OPSET]
    assert KEY in {entry.key for entry in model.metadata_props}


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_artefact_serves_in_place_of_its_weights(network, exported, form):
    served, card = load_exported(export_files(form, exported[0])[0])
    assert card == dataclasses.replace(CARD, kwargs={}, data={}, scores={})
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert relative_error(served(x), network(x)) < 1e-5


def test_a_foreign_or_damaged_artefact_is_one_message(exported, tmp_path):
    foreign, damaged = tmp_path / "foreign.onnx", tmp_path / "damaged.onnx"
    onnx = pytest.importorskip("onnx")
    model = onnx.load(export_files("onnx", exported[0])[0])
    del model.metadata_props[:]
    onnx.save(model, foreign)
    with pytest.raises(ValueError, match="does not say its classes"):
        load_exported(foreign)
    damaged.write_bytes(foreign.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged or no ONNX network"):
        load_exported(damaged)


@pytest.mark.parametrize("fault", ["size", "classes"])
def test_an_artefact_that_belies_its_description_is_one_message(exported, tmp_path, fault):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "a.onnx"
    model = onnx.load(export_files("onnx", exported[0])[0])
    if fault == "size":
        for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = 48
        message = r"does not fit its own description; export it again: .* input of \[1, 3, 32, 32\]: .*Expected: 48"
    else:
        [said] = model.metadata_props
        said.value = json.dumps({**json.loads(said.value), "class_names": ["cat"]})
        message = r"names 1 classes, but an image's answer is \[1, 3\]; export it again"
    onnx.save(model, path)
    with pytest.raises(ValueError, match=message) as raised:
        load_network(path)
    assert "\n" not in str(raised.value)


def test_other_answers_leave_nothing_and_spare_what_was_there(tmp_path, monkeypatch):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    class Wrong(Exporter):
        def __init__(self, network, size):
            super().__init__(nn.Sequential(network, nn.Threshold(-9, 0), nn.LeakyReLU(1.001)), size)

    monkeypatch.setattr(module, "Exporter", Wrong)
    earlier = tmp_path / "small.pt2"
    earlier.write_text("earlier")
    reported = []
    with pytest.raises(ValueError, match=r"differ by .* of the largest logit, more than 1\.0e-04; nothing was written"):
        reported += export(Mean(), CARD, tmp_path / "small", ["torch"], read=_read)
    assert [path.name for path in tmp_path.iterdir()] == ["small.pt2"]
    assert earlier.read_text() == "earlier"
    assert len(reported) == 1  # the report is there all the same


def test_the_images_must_be_named_alike(network, tmp_path):
    class Swapped(nn.Module):
        def forward(self, x):
            return network(x).flip(1) if len(x) == 2 else network(x)

    parity = compare(network, Swapped(), [(32, 32)], [torch.randn(2, 3, 32, 32)], tolerance=9.0)
    assert (parity.images, parity.fault is not None) == (2, True)
    assert "names another class" in str(parity.fault)
    not_a_number = compare(network, lambda x: network(x) * torch.nan, [(32, 32)], [], tolerance=9.0)
    assert "differ by nan" in str(not_a_number.fault)


def test_a_network_of_one_size_says_so(tmp_path):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3 * 32 * 32, 3)

        def forward(self, x):
            return self.fc(x.flatten(1))

    images = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in images:
        Image.effect_noise((40, 40), 90).save(path)
    words = list(map(str, images))
    [report] = export(Fixed(), CARD, tmp_path / "fixed", ["torch"], read=_read, images=words)
    parity = report.comparison
    assert report.description["input"]["shape"] == ["batch", 3, 32, 32]
    assert set(parity.errors) == {(1, 32, 32), (3, 32, 32)}
    assert (parity.images, parity.agreeing) == (2, 2)
    with pytest.raises(ValueError, match="takes no images of 33 pixels"):
        Exporter(Fixed(), 33)
    images[0].write_bytes(b"none")
    with pytest.raises(ValueError, match=r"cannot read the image .*a\.png"):
        list(export(Fixed(), CARD, tmp_path / "again", ["torch"], read=_read, images=words))
    assert not list(tmp_path.glob("again*"))
