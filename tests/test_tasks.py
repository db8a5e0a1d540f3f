"""The front door: what `cotnet.load`, `predict`, `validate` and `export` give is what the commands print."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import cotnet
from cotnet.cli import main
from cotnet.files.image import UnreadableImageError
from cotnet.files.weights import write_weights
from cotnet.tasks import TASKS
from tests.cards import CARD


@pytest.fixture
def printed(weights, images, capfd):
    """What the command says of each image."""
    assert main(["predict", str(weights), str(images), "--format", "json", "--num-workers", "0"]) == 0
    return json.loads(capfd.readouterr().out)


def test_an_image_in_any_form_gets_the_command_s_answer(weights, printed):
    model = cotnet.load(weights)
    path = printed[0]["path"]
    with Image.open(path) as file:
        image = file.convert("RGB")
    pixels = np.asarray(image)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [path, image, pixels, tensor, pixels / 255.0, tensor / 255.0, Path(path).read_bytes()]
    for form in forms:
        answer = model(form)
        assert list(answer.class_names) == [one["class"] for one in printed[0]["predictions"]]
        expected = [one["probability"] for one in printed[0]["predictions"]]
        assert answer.probabilities == pytest.approx(expected, abs=1e-5)
    assert model.class_names == CARD.class_names


def test_several_images_get_a_list(weights, printed):
    model = cotnet.load(weights)
    paths = [one["path"] for one in printed]
    answers = model(paths, topk=1)
    assert [(one.image, one.class_names[0]) for one in answers] == [
        (one["path"], one["predictions"][0]["class"]) for one in printed
    ]
    batch = torch.stack([torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) for path in paths])
    for one, other in zip(answers, model(batch, topk=1), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities)
    assert model([]) == []


def test_what_is_no_image_is_named(weights, tmp_path):
    model = cotnet.load(weights)
    (tmp_path / "x.png").write_bytes(b"none")
    with pytest.raises(UnreadableImageError, match=r"cannot read the image .*x\.png: it is not an image"):
        model(tmp_path / "x.png")
    [result] = cotnet.predict(model, [tmp_path / "x.png"])
    assert list(result.class_names) == []
    assert result.error == f"cannot read the image {tmp_path / 'x.png'}: it is not an image; repair or remove it"
    for wrong, error in ((3, TypeError), (np.zeros((2, 3, 5)), ValueError), (np.full((4, 4), 2.0), ValueError)):
        with pytest.raises(error, match="image"):
            model(wrong)
    with pytest.raises(TypeError, match="a model for classification takes topk, and not threshold"):
        model(np.zeros((4, 4), np.uint8), threshold=0.5)


def test_predict_is_lazy_and_in_order(weights, images, printed):
    results = cotnet.predict(weights, images, num_workers=2, batch_size=2, topk=1)
    assert next(results).image == printed[0]["path"]
    assert [one.image for one in results] == [one["path"] for one in printed[1:]]


def test_threads_do_not_disturb_one_another(weights, printed):
    model = cotnet.load(weights)
    paths = [one["path"] for one in printed] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(model, paths))
    expected = [one["predictions"][0] for one in printed] * 4
    assert [one.class_names[0] for one in answers] == [one["class"] for one in expected]


def test_validate_and_export_are_the_commands(weights, images, tmp_path, capfd):
    scores = cotnet.validate(weights, images, num_workers=0)
    assert main(["validate", str(weights), str(images), "--format", "json", "--num-workers", "0"]) == 0
    assert {**json.loads(capfd.readouterr().out), "images_per_s": 0} == {**scores.to_plain(), "images_per_s": 0}
    assert str(scores).splitlines()[0].startswith("cat ")
    write_weights(
        weights, timm.create_model("test_resnet", num_classes=3).state_dict(), replace(CARD, model="test_resnet")
    )
    [report] = cotnet.export(weights, "torch", output=tmp_path / "x", images=[str(images)])
    assert [path.name for path in report.files] == ["x.pt2", "x.pt2.json"]
    assert all(path.is_file() for path in report.files)
    assert "top-1 agrees on 6 of 6 images" in str(report)
    with pytest.raises(FileExistsError, match=r"x\.pt2 exists"):
        cotnet.export(weights, "torch", output=tmp_path / "x")


def test_options_of_other_tasks_are_refused(weights):
    with pytest.raises(ValueError, match=r"plots is for detectors and segmenters, and .* is a classifier"):
        cotnet.load(weights, plots="x")


def test_every_task_has_its_functions():
    pytest.importorskip("faster_coco_eval")
    for task in TASKS.values():
        for module, name in (
            ("predict", "load_model"),
            ("evaluate", "validate"),
            ("export", "export"),
            ("export", "target_files"),
        ):
            assert callable(task.function(module, name))


def test_the_front_door_is_listed():
    assert {"export", "load", "predict", "train", "validate"} <= {*dir(cotnet), *cotnet.__all__}
    with pytest.raises(AttributeError, match="no attribute 'predictt'"):
        _ = cotnet.predictt


def test_a_run_leaves_weights_that_load(tmp_path):
    overrides = {"model.name": "cotnet_nano", "model.warmup_epochs": 0, "data.size": 8, "data.batch_size": 14}
    overrides |= {"data.train_per_class": 2, "data.val_per_class": 1, "trainer.max_epochs": 1}
    run = cotnet.train("embedded", overrides, runs=tmp_path)
    assert run.folder == tmp_path / "embedded" / "1"
    model = cotnet.load(run.weights)
    assert len(model(np.zeros((30, 30, 3), np.uint8), topk=99).class_names) == len(model.class_names)
    assert cotnet.validate(model).top1 == pytest.approx(run.score, abs=1e-6)
