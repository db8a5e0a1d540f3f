"""`cotnet predict` as a user calls it."""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from cotnet.classification.predict import ClassificationModel, Prediction
from cotnet.files.weights import write_weights
from tests.cards import CARD


def cotnet_process(*words):
    return subprocess.run([sys.executable, "-m", "cotnet", *words], capture_output=True, check=False)


def test_table_csv_and_json_agree(cotnet_command, weights, images, tmp_path):
    status, table, err = cotnet_command("predict", weights, images, "--num-workers", 0)
    assert (status, err) == (0, "")
    assert len(table.splitlines()) == 6
    rows = list(csv.DictReader(io.StringIO(cotnet_command("predict", weights, images, "--format", "csv")[1])))
    assert len(rows) == 18
    file = tmp_path / "answers.json"
    status, out, _ = cotnet_command("predict", weights, images, "--format", "json", "--output", file, "--topk", 2)
    assert (status, out) == (0, "")
    entries = json.loads(file.read_text())
    assert [e["path"] for e in entries] == [r["path"] for r in rows if r["rank"] == "1"]
    for i, entry in enumerate(entries):
        assert [p["class"] for p in entry["predictions"]] == [r["class"] for r in rows[3 * i : 3 * i + 2]]
        assert sum(float(r["probability"]) for r in rows[3 * i : 3 * i + 3]) == pytest.approx(1, abs=1e-4)
        assert table.splitlines()[i].startswith(entry["path"])
    assert list(tmp_path.glob("*.partial")) == []


def test_globs_and_repeated_images(cotnet_command, weights, images):
    _, out, _ = cotnet_command("predict", weights, f"{images}/**/0.png", images / "val" / "cat" / "0.png")
    assert len(out.splitlines()) == 3


def test_an_unreadable_image_does_not_lose_the_others(cotnet_command, weights, images):
    (images / "val" / "cat" / "broken.png").write_bytes(b"no image")
    status, out, err = cotnet_command("predict", weights, images)
    assert (status, len(out.splitlines()), err.count("\n")) == (2, 6, 1)
    assert "broken.png: it is not an image; repair or remove it" in err
    (images / "val" / "cat" / "empty.png").write_bytes(b"")
    status, out, err = cotnet_command("predict", weights, images)
    assert (status, len(out.splitlines())) == (2, 6)
    assert "2 of 8" in err


def test_bad_weights(cotnet_command, weights, images, tmp_path):
    whole = weights.read_bytes()
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    weights.write_bytes(whole[:5000])
    for words, message in (
        ([weights], "damaged"),
        ([foreign], "has no weights under state_dict"),
        ([images / "val" / "cat" / "0.png"], "cannot read"),
        ([tmp_path / "absent.ckpt"], "there is no weights file"),
    ):
        status, out, err = cotnet_command("predict", *words, images)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_output_that_cannot_be_written(cotnet_command, weights, images, tmp_path):
    for target in (tmp_path, tmp_path / "absent" / "x.csv"):
        status, _, err = cotnet_command("predict", weights, images, "--output", target)
        assert status == 2
        assert str(target) in err


def test_empty_folder(cotnet_command, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = cotnet_command("predict", weights, tmp_path / "empty")
    assert status == 2
    assert "holds no images" in err


def test_released_checkpoint_needs_the_name_of_its_model(cotnet_command, images, tmp_path):
    import cotnet

    path = tmp_path / "nano.pth.tar"
    entries = timm.create_model("cotnet_nano", num_classes=4).state_dict()
    torch.save({"state_dict": cotnet.to_official(entries)}, path)
    assert "name it, e.g. --model cotnet50" in cotnet_command("predict", path, images)[2]
    assert "another model" in cotnet_command("predict", path, images, "--model", "cotnet18")[2]
    status, out, _ = cotnet_command("predict", path, images, "--model", "cotnet_nano", "--topk", 1)
    assert (status, len(out.splitlines())) == (0, 6)


def test_output_spares_inputs_and_devices(cotnet_command, weights, images):
    image = images / "val" / "cat" / "0.png"
    for target in (weights, image):
        before = target.read_bytes()
        status, _, err = cotnet_command("predict", weights, image, "--output", target)
        assert (status, target.read_bytes()) == (2, before)
        assert "is one of the inputs" in err
    assert cotnet_command("predict", weights, image, "--output", "/dev/null")[0] == 0
    assert os.stat("/dev/null").st_rdev
    assert not os.path.exists("/dev/null.partial")


def test_an_earlier_output_survives_an_error(cotnet_command, weights, images, tmp_path, monkeypatch):
    target = tmp_path / "answers.csv"
    target.write_text("earlier")

    def fail(self, *args, **kwargs):
        yield Prediction(image="a", class_names=["cat"], probabilities=[1.0])
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(ClassificationModel, "predict", fail)
    status, _, err = cotnet_command("predict", weights, images, "--output", target)
    assert (status, err) == (2, "cotnet: error: out of memory\n")
    assert target.read_text() == "earlier"
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_name_that_is_no_text(cotnet_command, weights, images, tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    os.rename(os.fsencode(images / "val" / "cat" / "0.png"), raw)
    done = cotnet_process("predict", weights, raw, "--topk", "1")
    assert done.returncode == 0, done.stderr
    assert raw in done.stdout
    for form in ("csv", "json"):
        words = ["--format", form, "--output", tmp_path / form]
        assert cotnet_command("predict", weights, os.fsdecode(raw), *words)[0] == 0
    assert raw in (tmp_path / "csv").read_bytes()
    assert json.loads((tmp_path / "json").read_text())[0]["path"] == os.fsdecode(raw)


def test_interrupt(weights, images, tmp_path):
    """Ctrl-C gives status 130, no traceback, and no file."""
    code = """
import os, signal, sys
from cotnet.cli import main
import cotnet.prediction.stream as stream
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
def interrupted(image, transform, **options):
    os.kill(os.getpid(), signal.SIGINT)
    return "x"
stream.read_input = interrupted
sys.exit(main(sys.argv[1:]))
"""
    words = ["predict", str(weights), str(images), "--num-workers", "0", "--output", str(tmp_path / "x")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("x*")) == []


def test_the_process_is_quiet_and_its_reader_may_leave(weights, images):
    done = cotnet_process("predict", weights, images)
    assert (done.returncode, done.stderr) == (0, b"")
    command = f"{sys.executable} -m cotnet predict {weights} {images} | true"
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=False).stderr == b""


@pytest.mark.parametrize("rank", ["1", "", "x"])
@pytest.mark.parametrize("command", ["predict", "validate"])
def test_a_rank_that_something_else_has_set_silences_nothing(command, rank, weights, images, tmp_path):
    environment = {**os.environ, "RANK": rank}
    words = [sys.executable, "-m", "cotnet", command, str(weights), str(images), "--num-workers", "0"]
    words += ["--output", str(tmp_path / "x")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len((tmp_path / "x").read_text().splitlines()) >= 5


def test_the_format_follows_the_name_and_every_image_has_a_row(cotnet_command, weights, images, tmp_path):
    broken = images / "val" / "cat" / "broken.png"
    broken.write_bytes(b"no image")
    reason = f"cannot read the image {broken}: it is not an image; repair or remove it"
    for name in ("x.csv", "x.JSON", "x.txt"):
        status, out, err = cotnet_command("predict", weights, images, "--topk", 1, "--output", tmp_path / name)
        assert (status, out, err) == (2, "", f"cotnet: error: {reason}\n")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert len(rows) == 7
    assert [row["error"] for row in rows if row["error"]] == [reason]
    assert [row["class"] for row in rows if row["error"]] == [""]
    entries = json.loads((tmp_path / "x.JSON").read_text())
    assert [entry["path"] for entry in entries] == [row["path"] for row in rows]
    assert [(entry["predictions"], entry["error"]) for entry in entries if "error" in entry] == [([], reason)]
    assert "%" in (tmp_path / "x.txt").read_text()
    assert cotnet_command("predict", weights, images, "--format", "table", "--output", tmp_path / "t.csv")[0] == 2
    assert "%" in (tmp_path / "t.csv").read_text()


def test_what_is_no_image_is_counted_in_one_line(cotnet_command, weights, images):
    for name in ("a.txt", "b.txt", "c.pdf"):
        (images / name).write_bytes(b"")
    status, out, err = cotnet_command("predict", weights, images)
    assert (status, len(out.splitlines())) == (0, 6)
    assert err == "note: 3 files skipped: 2 .txt, 1 .pdf\n"


def test_names_in_any_script_on_any_terminal(images, tmp_path):
    names = ["猫", "naïve", "пёс"]
    path = tmp_path / "w.safetensors"
    write_weights(path, timm.create_model("cotnet_nano", num_classes=3).state_dict(), replace(CARD, class_names=names))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    for command in (
        ["predict", str(path), str(images)],
        ["predict", str(path), "нет.jpg"],
        ["validate", str(path), "x"],
    ):
        words = [sys.executable, "-m", "cotnet", *command, "--num-workers", "0"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == (0 if command[1:] == [str(path), str(images)] else 2)
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == (done.returncode != 0)
        if done.returncode == 0:
            assert "\\u732b" in done.stdout


@pytest.fixture
def foreign(tmp_path):
    """Weights of timm's resnet10t of three classes, as other programs keep them."""
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3)
    entries = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save(
        {"arch": "resnet10t", "state_dict": entries, "args": argparse.Namespace(lr=1)}, tmp_path / "timm.pth.tar"
    )
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "own.pt")
    save_file(network.state_dict(), tmp_path / "bare.safetensors")
    vit = timm.create_model("test_vit", num_classes=3)
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    labels = {"label_names": ["a", "b", "c"]}
    timm.models.save_for_hf(network, tmp_path / "hf", model_config=labels, safe_serialization=True)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "options", "classes"),
    [
        ("timm.pth.tar", [], {"0", "1", "2"}),
        ("own.pt", ["--model", "resnet10t"], {"0", "1", "2"}),
        ("bare.safetensors", ["--model", "resnet10t"], {"0", "1", "2"}),
        ("bare.safetensors", ["--model", "resnet10t", "--class-names", "{folder}/names.txt"], {"x", "y z", "ü"}),
        ("vit.safetensors", ["--model", "test_vit"], {"0", "1", "2"}),
        ("hf", [], {"a", "b", "c"}),
        ("hf/model.safetensors", [], {"a", "b", "c"}),
    ],
)
def test_weights_of_other_programs(cotnet_command, foreign, images, file, options, classes):
    (foreign / "names.txt").write_text("\ufeffx\ny z\n\nü\n", encoding="utf-8")
    words = [option.format(folder=foreign) for option in options]
    status, out, err = cotnet_command(
        "predict", foreign / file, images, "--format", "csv", "--num-workers", "0", *words
    )
    assert (status, err) == (0, "")
    assert {row["class"] for row in csv.DictReader(io.StringIO(out))} == classes


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("own.pt", [], "does not say which model it is; name it, e.g. --model cotnet50"),
        ("own.pt", ["--model", "cotnet_nano"], "another model"),
        ("vit.safetensors", ["--model", "resnet10t"], "resnet10t has fc.weight and conv1.0.weight, the file has"),
        ("hf", ["--class-names", "{folder}/two.txt"], "--class-names has 2 names, the network 3 classes"),
        ("hf", ["--class-names", "{folder}/none.txt"], "none.txt: No such file"),
    ],
)
def test_what_is_wrong_with_them_is_one_line(cotnet_command, foreign, images, file, options, message):
    (foreign / "two.txt").write_text("x\ny\n")
    words = [option.format(folder=foreign) for option in options]
    status, out, err = cotnet_command("predict", foreign / file, images, "--num-workers", "0", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
