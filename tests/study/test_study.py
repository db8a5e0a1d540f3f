"""Studies as data, resumed cell by cell, and what they report."""

import json
import math
import shutil

import pytest
import torch
from PIL import Image

from cotnet.cli.errors import UnfinishedError
from cotnet.cli.study import run
from cotnet.models import count_parameters
from cotnet.study import Case, Result, Study, compare, load_study, study_names
from cotnet.study.cells import Cell, cell_words
from cotnet.study.results import write_tables
from cotnet.training.config import read_config
from cotnet.training.recipe import find_recipe, read_recipe

SMALL = ["--trainer.max_epochs", "1", "--model.warmup_epochs", "0", "--data.size", "8", "--data.batch_size", "14"]
SMALL += ["--data.train_per_class", "2", "--data.val_per_class", "1", "--data.num_workers", "0"]
GRID = ["--bodies", "cotnet20_nano", "--mixers", "conv,cot", "--recipe", "embedded", "--seeds", "0", "--jobs", "2"]


@pytest.mark.parametrize("name", study_names())
def test_shipped_studies_build(name):
    study = load_study(name)
    study.check()
    assert len(study.seeds) >= 3


def test_relatives_are_of_about_equal_size():
    with torch.device("meta"):
        sizes = {case.label: count_parameters(case.network(10)) for case in load_study("relatives").cases}
    assert all(0.85 < size / sizes["CoT"] < 1.2 for size in sizes.values()), sizes


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    run([*GRID, "--output", str(folder), *SMALL])
    return folder


def test_a_study_leaves_table_report_and_figure(finished):
    assert len((finished / "results.csv").read_text().splitlines()) == 3
    report = (finished / "report.md").read_text()
    assert "| cot | 1 |" in report
    assert "2 of 2 cells" in report
    assert "0.20" in report
    assert report.count("--trainer.max_epochs") == 1
    with Image.open(finished / "figure.png") as image:
        assert image.width > 1000


def test_a_case_without_arguments_has_none_of_the_recipe(tmp_path):
    case = Case("all", "cotnet_nano")
    words = cell_words(Study("", (case,)), Cell(case, 0, tmp_path), [])
    assert read_config(read_recipe(find_recipe("distill")), words).values.model.kwargs == {}


def test_a_finished_cell_is_not_trained_again(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("cells/*/*/log.txt")}
    run([*GRID, "--output", str(finished), *SMALL])
    assert "2 of 2 cells are done already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("cells/*/*/log.txt")}


def test_other_settings_need_another_folder(finished):
    with pytest.raises(ValueError, match="was trained with other settings; choose another --output"):
        run([*GRID, "--output", str(finished), *SMALL, "--model.base_lr", "0.3"])


def test_a_failing_cell_is_named_and_the_rest_reported(finished, tmp_path, capsys):
    for source in finished.glob("cells/conv/0/result.json"):
        target = tmp_path / "cells" / "conv" / "0" / source.name
        target.parent.mkdir(parents=True)
        done = json.loads(source.read_text())
        done["settings"]["words"] = ["--data.size", "big"]
        target.write_text(json.dumps(done))
    with pytest.raises(UnfinishedError):
        run([*GRID, "--output", str(tmp_path), "--data.size", "big"])
    assert "cot, seed 0: failed: data.size must be int" in capsys.readouterr().out
    assert (tmp_path / "report.md").is_file()


def copied(finished, folder):
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    return folder / "cells" / "conv" / "0"


def test_a_study_killed_before_a_result_was_written_takes_the_finished_run(finished, tmp_path, capsys):
    cell = copied(finished, tmp_path)
    before = json.loads((cell / "result.json").read_text())
    (cell / "result.json").unlink()
    run([*GRID, "--output", str(tmp_path), *SMALL])
    assert "2 of 2 cells are done already" in capsys.readouterr().out
    assert json.loads((cell / "result.json").read_text()) == before


def test_a_cell_is_not_resumed_under_another_recipe(finished, tmp_path):
    cell = copied(finished, tmp_path)
    (cell / "result.json").unlink()
    with pytest.raises(ValueError, match="conv/0 was trained with other settings"):
        run([*GRID, "--output", str(tmp_path), *SMALL, "--model.base_lr", "0.3"])


@pytest.mark.parametrize("content", ["{", "[]", '{"top1": 0.5}'])
def test_a_damaged_result_is_named(finished, tmp_path, content):
    cell = copied(finished, tmp_path)
    (cell / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"conv/0/result.json is damaged .*; remove it to make it again"):
        run([*GRID, "--output", str(tmp_path), *SMALL])


def test_a_cell_without_a_folder_is_named_and_the_others_go_on(finished, tmp_path, capsys):
    cell = copied(finished, tmp_path)
    shutil.rmtree(cell)
    cell.write_text("in the way")
    (tmp_path / "speed.json").write_text("damaged")
    with pytest.raises(UnfinishedError):
        run([*GRID, "--output", str(tmp_path), *SMALL])
    out = capsys.readouterr().out
    assert "conv, seed 0: failed: [Errno" in out
    assert "| cot | 1 |" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, 1, 0)}, "the seed 0 is given twice"),
        ({"seeds": (-1,)}, "a seed is a whole number from 0 .* got -1"),
        ({"seeds": ("a",)}, "a seed is a whole number"),
        ({"seeds": ()}, "at least one case and one seed"),
        ({"cases": (Case("../up", "cotnet_nano"),)}, "a label is a folder's name"),
        ({"cases": (Case("a", "cotnet_nano"), Case("a", "cotnet20_nano"))}, "'a' is given to two cases"),
        ({"cases": (Case("a", "cotnet_nano", {"mixers": ["cot"]}),)}, "case 'a': expected mixers by stage"),
        ({"order": (("a", "b"),)}, "order names 'a', which is no case; the cases are one"),
    ],
)
def test_a_study_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Study(**{"title": "t", "cases": (Case("one", "cotnet_nano"),), **changes}).check()


def result(label, *scores):
    return Result(Case(label, "cotnet20_nano"), dict(enumerate(scores)), 1, 1, 1.0)


def test_each_chain_of_the_order_is_judged_pair_by_pair(tmp_path):
    cases = {label: result(label, 0.5, 0.6) for label in ("convolution", "static", "dynamic", "linear", "CoT")}
    report = write_tables(load_study("context"), list(cases.values()), tmp_path, notes=[])
    judged = [line.partition(":")[0] for line in report.splitlines() if line.startswith("- ")]
    assert judged == [
        "- static < dynamic",
        "- dynamic < linear",
        "- linear < CoT",
        "- convolution < CoT",
        "- static < CoT",
    ]


def test_order_is_judged_by_paired_differences():
    low = result("low", 0.50, 0.52, 0.54)
    assert "low < high: confirmed (+1.10 points" in compare(low, result("high", 0.51, 0.531, 0.552))
    assert "contradicted" in compare(result("high", 0.51, 0.531, 0.552), low)
    assert "not confirmed" in compare(low, result("high", 0.49, 0.55, 0.54))
    assert "open" in compare(result("low", 0.5), result("high", 0.6))
    assert math.isnan(result("low", 0.5).spread)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["contxt"], r"unknown study 'contxt'; did you mean context\?.*relatives"),
        ([], "name a study .context, kernel, relatives, stages., or both --bodies and --mixers"),
        (["--bodies", "cotnet_nanoo", "--mixers", "cot"], "unknown model 'cotnet_nanoo'; did you mean cotnet_nano"),
        (["--bodies", "cotnet_nano", "--mixers", "cott"], "did you mean 'cot'"),
        (["--bodies", "cotnet_nano", "--mixers", "cot", "--stages", "res5"], "This body has res2, res3, res4"),
        (["context", "--seeds", "a"], "--seeds must be whole numbers"),
        (["context", "--recipe", "cifar11"], "unknown recipe 'cifar11'"),
        (["context", "--model.kwargs", "{}"], "is what the study varies"),
        (["context", "--joobs", "1"], "did you mean --jobs"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        run(arguments)
