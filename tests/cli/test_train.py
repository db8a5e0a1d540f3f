import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotnet.cli.train import run
from cotnet.data import ImageFolder
from cotnet.files.weights import load_checkpoint, read_weights
from cotnet.training.recipe import shipped_recipes

# Two steps an epoch of the smallest network on the smallest images.
TINY = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--data.size", "8", "--data.train_per_class", "2"]
TINY += ["--data.val_per_class", "1", "--data.batch_size", "14"]


def tiny(runs: Path, *fields: str, epochs: int = 1) -> None:
    run([*TINY, "--runs", str(runs), "--trainer.max_epochs", str(epochs), *fields])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    tiny(runs)
    return runs / "embedded" / "1"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_everything(finished):
    left = {path.name for path in finished.iterdir()}
    files = {
        "config.yaml",
        "metrics.csv",
        "curves.png",
        "confusion.png",
        "confused.png",
        "report.md",
        "best.ckpt",
        "last.ckpt",
        "weights.safetensors",
    }
    assert left == files | {"tensorboard"}
    assert list((finished / "tensorboard").glob("events*"))
    assert [row["epoch"] for row in rows(finished)] == ["1"]
    for name in ("curves.png", "confusion.png", "confused.png"):
        with Image.open(finished / name) as image:
            assert image.width > 300


def test_the_weights_describe_themselves(finished):
    entries, card = read_weights(finished / "weights.safetensors")
    assert card.model == "cotnet_nano"
    assert entries["fc.weight"].shape[0] == len(card.class_names) == 14
    assert card.preprocessing["input_size"] == [3, 8, 8]
    assert card.data["class_path"] == "cotnet.data.BundledImages"
    assert card.scores["val_top1"] == pytest.approx(float(rows(finished)[0]["val_top1"]), abs=1e-5)


def test_the_report_tells_of_the_run(finished):
    report = (finished / "report.md").read_text()
    assert "Complete: 1 epochs." in report
    top1 = float(rows(finished)[0]["val_top1"])
    assert f"| best val top-1 | {top1:.2%} (epoch 1) |" in report
    for name in ("brick", "curves.png", "confusion.png", "confused.png", "config.yaml", "torch 2", "--data.size 8"):
        assert name in report
    classes = report.split("## Classes")[1].split("## Most confused")[0]
    assert classes.count("| 1 |") == 14  # one validation image of each class


def test_an_epoch_without_validation_has_no_scores(tmp_path, capsys):
    tiny(tmp_path, "--trainer.check_val_every_n_epoch", "2", epochs=3)
    scores = [row["val_top1"] for row in rows(tmp_path / "embedded" / "1")]
    assert [bool(score) for score in scores] == [False, True, False]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [" val " in line for line in lines] == [False, True, False]


def test_loggers_of_the_user_work_beside_ours(tmp_path):
    logger = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'logs'}"]
    tiny(tmp_path / "runs", *logger)
    [table] = (tmp_path / "logs").rglob("metrics.csv")
    assert "val_top1" in table.read_text()
    assert list((tmp_path / "runs" / "embedded" / "1" / "tensorboard").glob("events*"))


def test_a_second_run_leaves_the_first_alone(tmp_path, capsys):
    tiny(tmp_path)
    before = (tmp_path / "embedded" / "1" / "last.ckpt").read_bytes()
    tiny(tmp_path)
    assert (tmp_path / "embedded" / "1" / "last.ckpt").read_bytes() == before
    assert rows(tmp_path / "embedded" / "2")[0]["train_loss"] == rows(tmp_path / "embedded" / "1")[0]["train_loss"]
    lines = capsys.readouterr().out.splitlines()
    assert "nearest mean colour" in lines[-2]
    assert str(tmp_path / "embedded" / "2") in lines[-1]


def test_resume_goes_on_and_equals_an_unbroken_run(finished, tmp_path):
    flat = ["--model.base_lr", "0.05", "--model.final_lr", "0.0"]
    tiny(tmp_path, *flat, epochs=2)
    whole = rows(tmp_path / "embedded" / "1")
    tiny(tmp_path, *flat, "--ckpt_path", str(finished / "last.ckpt"), epochs=2)
    resumed = tmp_path / "embedded" / "2"
    assert [row["epoch"] for row in rows(resumed)] == ["1", "2"]
    assert rows(resumed)[1]["lr"] == whole[1]["lr"]
    assert load_checkpoint(resumed / "last.ckpt")["epoch"] == 1


@pytest.mark.parametrize(
    ("fields", "epochs", "message"),
    [
        ([], 1, "has already 1 epochs"),
        (["--model.name", "cotnet18", "--data.size", "32"], 2, "is of another model: it holds cotnet_nano"),
        (["--model.ema_decay", "0.9"], 2, "model.ema_decay cannot be switched"),
    ],
)
def test_resume_refuses_what_it_cannot_honour(finished, tmp_path, fields, epochs, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path / "runs", *fields, "--ckpt_path", str(finished / "last.ckpt"), epochs=epochs)
    assert not (tmp_path / "runs").exists()


def folder_of_images(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("ash", "birch"):
            (root / split / name).mkdir(parents=True)
            for index in range(4):
                shade = np.full((12, 12, 3), 30 * index, np.uint8)
                Image.fromarray(shade).save(root / split / name / f"{index}.png")
    return root


def on_folder(root: Path, runs: Path, *fields: str) -> None:
    data = ["--data.root", str(root), "--data.size", "8", "--data.batch_size", "4", "--data.num_workers", "0"]
    network = ["--model.name", "cotnet_nano", "--model.warmup_epochs", "0", "--trainer.max_epochs", "1"]
    run(["finetune", *data, *network, "--runs", str(runs), *fields])


def test_resume_refuses_another_number_of_classes(finished, tmp_path):
    root = folder_of_images(tmp_path / "images")
    with pytest.raises(ValueError, match="has 14 classes, the data 2"):
        on_folder(root, tmp_path / "runs", "--ckpt_path", str(finished / "last.ckpt"))
    assert not (tmp_path / "runs").exists()


def test_finetune_starts_from_the_weights_of_a_run(finished, tmp_path, capsys):
    root = folder_of_images(tmp_path / "images")
    on_folder(root, tmp_path / "runs", "--model.init_from", str(finished / "weights.safetensors"))
    assert "their classifier is dropped" in capsys.readouterr().out
    _, card = read_weights(tmp_path / "runs" / "finetune" / "1" / "weights.safetensors")
    assert card.class_names == ["ash", "birch"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_unreadable_image_is_named_before_anything_is_made(split, tmp_path):
    root = folder_of_images(tmp_path / "images")
    image = root / split / "ash" / "2.png"
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"^cannot read the image [^\n]*2.png[^\n]*$"):
        on_folder(root, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_unreadable_images_within_the_budget_are_passed_over_and_reported(tmp_path):
    root = folder_of_images(tmp_path / "images")
    for split in ("train", "val"):
        (root / split / "ash" / "2.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read the image .*2.png"):
        on_folder(root, tmp_path / "runs")
    on_folder(root, tmp_path / "runs", "--data.skip_unreadable", "1")
    report = (tmp_path / "runs" / "finetune" / "1" / "report.md").read_text()
    assert "## Skipped: 2 unreadable images" in report
    assert str(root / "val" / "ash" / "2.png") in report
    assert "| ash | 3 |" in report  # every readable image of validation once


def test_the_report_of_a_resumed_run_names_what_was_passed_over_before(tmp_path):
    root = folder_of_images(tmp_path / "images")
    image = root / "train" / "ash" / "2.png"
    image.write_bytes(b"no image")
    on_folder(root, tmp_path / "runs", "--data.skip_unreadable", "1")
    image.unlink()
    again = ("--ckpt_path", "last", "--trainer.max_epochs", "2")
    on_folder(root, tmp_path / "runs", "--data.skip_unreadable", "1", *again)
    report = (tmp_path / "runs" / "finetune" / "1" / "report.md").read_text()
    assert "## Skipped: 1 unreadable images" in report
    assert str(image) in report


@pytest.mark.parametrize("num_workers", ["0", "1"])
def test_a_image_that_breaks_during_the_first_epoch_leaves_no_folder(tmp_path, num_workers, monkeypatch):
    root = folder_of_images(tmp_path / "images")
    (root / "val" / "ash" / "2.png").write_bytes(b"no image")
    monkeypatch.setattr(ImageFolder, "check_images", lambda self: None)
    with pytest.raises(ValueError, match=r"^cannot read the image [^\n]*2.png[^\n]*$"):
        on_folder(root, tmp_path / "runs", "--data.num_workers", num_workers)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("--trainer.limit_train_batches=0", "ended before its first epoch"),
        ("--trainer.max_time=00:00:00:00", "ended before its first epoch"),
        ("--trainer.max_steps=0", r"trainer\.max_steps must be at least 1, got 0"),
    ],
)
def test_a_run_without_an_epoch_is_an_error(field, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path / "runs", field)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embeded"], "unknown recipe 'embeded'; did you mean embedded"),
        (["nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["--modle.name", "x"], "unknown field --modle.name; did you mean --model"),
        (["--ckpt_path", "nowhere.ckpt"], "'nowhere.ckpt' is not a file"),
        (["--model.base_lrr", "1"], "unknown field model.base_lrr; did you mean --model.base_lr"),
        (["--data.batch_sizee", "1"], "unknown field data.batch_sizee; did you mean --data.batch_size"),
        (["--trainer.max_epoch", "1"], "did you mean --trainer.max_epochs"),
        (["--model.base_lr", "fast"], "model.base_lr must be float, got 'fast'"),
        (["--data.size", "big"], "data.size must be int, got 'big'"),
        (["--trainer.max_epochs", "1.5"], "trainer.max_epochs must be int, got '1.5'"),
        (["--trainer.limit_val_batches", "x"], "trainer.limit_val_batches must be int or float, got 'x'"),
        (["--trainer.check_val_every_n_epoch", "9"], "must be a number up to trainer.max_epochs 4, got 9"),
        (["--data.augment", "foo"], "data.augment must be one of resized_crop, pad_crop, flip, none, got 'foo'"),
        (["--data.mean", "[1]"], r"data.mean must be \[float, float, float\], got '\[1\]'"),
        (["--data.auto_augment", "rand-m9-zzz"], "must be a RandAugment policy .* got 'rand-m9-zzz'"),
        (["--data", "NpzPack"], "data.path is missing; pass --data.path"),
        (["embedded", "stray"], "unexpected 'stray'; a field is"),
        (["--data.size", "500"], "data.size must be at most 48"),
        (["--data", "cotnet.data.Foo"], "unknown data class 'cotnet.data.Foo'; use one of BundledImages"),
        (["--model.name", "cotnet19"], "unknown model 'cotnet19'; did you mean cotnet18"),
        (["--trainer.max_epochs", "0"], "max_epochs must be at least 1, got 0"),
        (["--data.size", "2"], "too small"),
        (["finetune", "--data.root", "nowhere"], "'nowhere' is not a folder"),
        (["--trainer.limit_train_batches", "0.001"], "increase the `limit_train_batches` argument"),
        (["--trainer.overfit_batches", "0.001", "--find_lr", "x.png"], "`limit_train_batches` argument"),
        (
            [*TINY, "--data.batch_size", "20", "--trainer.accelerator", "cpu", "--trainer.devices", "2"],
            "data.batch_size 20 in each of 2 processes is more than the 28 training images; "
            "use --data.batch_size 14 or less",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        run(arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_every_recipe_says_how_to_run_it():
    for name, path in shipped_recipes().items():
        assert path.read_text().startswith("# cotnet train" + ("" if name == "embedded" else f" {name} "))


def test_prints_its_configuration(capsys):
    run(["--model.base_lr", "0.125", "--print_config"])
    assert "base_lr: 0.125" in capsys.readouterr().out


def test_help_needs_no_lightning(capsys):
    run(["--help"])
    assert "embedded" in capsys.readouterr().out
