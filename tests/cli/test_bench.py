"""`cotnet bench` as a user calls it."""

import json

import pytest

from cotnet.bench import run

QUICK = [
    "--modes",
    "eager,fused",
    "--dtypes",
    "float32",
    "--batches",
    "2",
    "--size",
    32,
    "--blocks",
    2,
    "--block-ms",
    1,
]


@pytest.fixture
def here(monkeypatch):
    """Measure in this process, which has everything loaded."""
    monkeypatch.setattr(run, "in_child", lambda function, *args: function(*args))


def test_table_lines_and_figure(cotnet_command, here, tmp_path):
    lines, figure = tmp_path / "b.jsonl", tmp_path / "b.png"
    words = ["test_resnet", "test_byobnet", "--baseline", "test_byobnet", *QUICK, "--json", lines]
    status, out, err = cotnet_command("bench", *words)
    assert status == 0, err
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["model"], row["mode"]) for row in rows] == [
        ("test_byobnet", "eager"), ("test_byobnet", "fused"), ("test_resnet", "eager"), ("test_resnet", "fused"),
    ]  # fmt: skip
    for row in rows:
        assert row["error"] < 1e-4
        assert row["peak_mib"] > 0
        assert row["quartiles_ms"][0] <= row["median_ms"] <= row["quartiles_ms"][1]
        assert {"date", "machine", "versions", "threads", "baseline"} <= row.keys()
    assert rows[2]["ratio_same_mode"] == pytest.approx(rows[0]["median_ms"] / rows[2]["median_ms"], rel=0.01)
    table = out.splitlines()[1:]
    assert table[0].split()[:3] == ["model", "mode", "dtype"]
    assert len(table) == 5

    status, again, err = cotnet_command("bench", "--from", lines, "--figure", figure)
    assert (status, err) == (0, "")
    assert again.splitlines()[:5] == table
    assert "no accuracy is published: test_byobnet at 32, test_resnet at 32" in again
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.partial"))


def test_other_answers_are_status_2(cotnet_command, here, monkeypatch):
    from cotnet.bench import candidates

    monkeypatch.setitem(candidates._TORCH_MODES, "fused", lambda network: lambda x: network(x) + 1)
    status, out, err = cotnet_command("bench", "test_resnet", *QUICK, "--no-memory")
    assert status == 2
    assert err.splitlines()[-1].endswith("no ratio for test_resnet fused float32: the answers differ from eager's")
    assert "answers differ from eager's by" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnt50"], "unknown model 'resnt50'; did you mean resnet50"),
        (["--baseline", "resnt50"], "unknown model 'resnt50'"),
        (["--modes", "eager,quick"], "--modes must be of eager, compiled, frozen, fused, fused-frozen"),
        (["--dtypes", "float16"], "--dtypes must be of float32, bfloat16, got 'float16'"),
        (["--batches", "0"], "--batches must be at least 1, got 0"),
        (["--batches", "one"], "--batches must be whole numbers"),
        (["--blocks", "1"], "--blocks must be at least 2, got 1"),
        (["--block-ms", "0"], "--block-ms must be above 0 and finite, got 0.0"),
        (["--block-ms", "inf"], "--block-ms must be above 0 and finite, got inf"),
        (["--size", "0"], "--size must be at least 1, got 0"),
        (["--json", "absent/x.jsonl"], "--json absent/x.jsonl: its folder does not exist"),
        (["--figure", "absent/x.png"], "--figure absent/x.png: its folder does not exist"),
        (["--from", "absent.jsonl"], "absent.jsonl: No such file"),
        (["cotnet50", "--from", "x", "--peers"], "earlier measurements; leave cotnet50, --peers out"),
        (["--from=x", "--modes=fusd", "--figure", "x.png", "--size", "1"], "leave --modes, --size out"),
    ],
)
def test_wrong_inputs(cotnet_command, words, message):
    status, out, err = cotnet_command("bench", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_foreign_file_is_named_by_its_line(cotnet_command, tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"model": "a"}\n')
    assert "line 1 is not a measurement" in cotnet_command("bench", "--from", file)[2]
    file.write_text("")
    assert "contains no measurements" in cotnet_command("bench", "--from", file)[2]
