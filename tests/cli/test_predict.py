"""`cotnet predict` as a user calls it."""

import csv
import io
import json

import pytest
import torch


def test_table_csv_and_json_agree(cotnet_command, weights, pictures, tmp_path):
    status, table, err = cotnet_command("predict", weights, pictures, "--workers", 0)
    assert (status, err) == (0, "")
    assert len(table.splitlines()) == 6
    rows = list(csv.DictReader(io.StringIO(cotnet_command("predict", weights, pictures, "--format", "csv")[1])))
    assert len(rows) == 18
    file = tmp_path / "answers.json"
    status, out, _ = cotnet_command("predict", weights, pictures, "--format", "json", "--output", file, "--topk", 2)
    assert (status, out) == (0, "")
    entries = json.loads(file.read_text())
    assert [e["path"] for e in entries] == [r["path"] for r in rows if r["rank"] == "1"]
    for i, entry in enumerate(entries):
        assert [p["class"] for p in entry["predictions"]] == [r["class"] for r in rows[3 * i : 3 * i + 2]]
        assert sum(float(r["probability"]) for r in rows[3 * i : 3 * i + 3]) == pytest.approx(1, abs=1e-4)
        assert table.splitlines()[i].startswith(entry["path"])
    assert list(tmp_path.glob("*.partial")) == []


def test_globs_and_repeated_pictures(cotnet_command, weights, pictures):
    _, out, _ = cotnet_command("predict", weights, f"{pictures}/**/0.png", pictures / "val" / "cat" / "0.png")
    assert len(out.splitlines()) == 3


def test_an_unreadable_picture_does_not_lose_the_others(cotnet_command, weights, pictures):
    (pictures / "val" / "cat" / "broken.png").write_bytes(b"no picture")
    status, out, err = cotnet_command("predict", weights, pictures)
    assert status == 1
    assert len(out.splitlines()) == 6
    assert "broken.png: it is not a picture" in err
    assert "1 of 7" in err


def test_bad_weights(cotnet_command, weights, pictures, tmp_path):
    whole = weights.read_bytes()
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    weights.write_bytes(whole[:5000])
    for words, message in (
        ([weights], "damaged"),
        ([foreign], "does not describe its network"),
        ([pictures / "val" / "cat" / "0.png"], "cannot read"),
        ([tmp_path / "absent.ckpt"], "there is no weights file"),
    ):
        status, out, err = cotnet_command("predict", *words, pictures)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_output_that_cannot_be_written(cotnet_command, weights, pictures, tmp_path):
    for target in (tmp_path, tmp_path / "absent" / "x.csv"):
        status, _, err = cotnet_command("predict", weights, pictures, "--output", target)
        assert status == 2
        assert str(target) in err


def test_empty_folder(cotnet_command, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = cotnet_command("predict", weights, tmp_path / "empty")
    assert status == 2
    assert "holds no pictures" in err


def test_released_checkpoint_needs_the_name_of_its_model(cotnet_command, pictures, tmp_path):
    import timm

    import cotnet

    path = tmp_path / "nano.pth.tar"
    entries = timm.create_model("cotnet_nano", num_classes=4).state_dict()
    torch.save({"state_dict": cotnet.to_official(entries)}, path)
    assert "name it, e.g. --model cotnet50" in cotnet_command("predict", path, pictures)[2]
    assert "another model" in cotnet_command("predict", path, pictures, "--model", "cotnet18")[2]
    status, out, _ = cotnet_command("predict", path, pictures, "--model", "cotnet_nano", "--topk", 1)
    assert (status, len(out.splitlines())) == (0, 6)
