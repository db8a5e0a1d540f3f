"""Measurements compared with eager, in processes that fail alone."""

import dataclasses
import math
import os

import pytest
import torch
from torch import nn

from cotnet.bench import candidates
from cotnet.bench.candidates import Candidate, Setting
from cotnet.bench.measure import in_child, measure_memory, measure_times
from cotnet.bench.rows import to_rows

EAGER = Candidate("test_resnet", "eager", "float32", 1, 32)


@pytest.fixture
def setting(tmp_path):
    return Setting(torch.get_num_threads(), "channels_last", blocks=2, block_ms=1, folder=tmp_path)


def test_every_mode_is_measured_or_says_why_not(setting, monkeypatch):
    def no_compiler(network, **options):
        raise RuntimeError("no working C++ compiler found\n\nlong advice")

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(candidates, "missing_packages", lambda form: f"format {form} needs a package")
    wanted = [dataclasses.replace(EAGER, mode=mode) for mode in candidates.MODES]
    wanted.append(dataclasses.replace(EAGER, dtype="bfloat16", mode="fused"))
    rows = {(row.candidate.mode, row.candidate.dtype): row for row in measure_times(wanted, setting)}
    for mode, dtype in (("eager", "float32"), ("fused", "float32"), ("fused", "bfloat16")):
        assert rows[mode, dtype].reason is None
        assert rows[mode, dtype].times.median_ms > 0
    assert rows["frozen", "float32"].reason == "no working C++ compiler found"
    assert rows["openvino", "float32"].reason == "format openvino needs a package"
    assert not any(row.wrong_answers for row in rows.values())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_answers_are_marked(setting, monkeypatch, dtype):
    class Doubled(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return 2 * self.network(x)

    monkeypatch.setitem(candidates._TORCH_MODES, "fused", Doubled)
    [row] = measure_times([Candidate("test_resnet", "fused", dtype, 1, 32)], setting)
    assert row.wrong_answers
    assert "answers differ" in row.reason
    [plain] = to_rows([row], [None], "test_resnet")
    assert plain["wrong_answers"]
    assert "ratio_same_mode" not in plain


def test_one_that_fails_later_does_not_lose_the_others(setting, monkeypatch):
    """A mode may fail at any call, and what it is compared with may, too."""

    def tired(network):
        calls = iter(range(2))
        return lambda x: network(x) if next(calls, None) is not None else 1 // 0

    monkeypatch.setitem(candidates._TORCH_MODES, "fused", tired)
    rows = measure_times([dataclasses.replace(EAGER, mode="fused"), EAGER], setting)
    assert [row.reason for row in rows] == ["integer division or modulo by zero", None]
    assert rows[0].times is None
    assert rows[1].times.median_ms > 0

    monkeypatch.setitem(candidates._TORCH_MODES, "fused", lambda network: network)
    monkeypatch.setitem(candidates._TORCH_MODES, "eager", lambda network: 1 // 0)
    [row] = measure_times([dataclasses.replace(EAGER, mode="fused")], setting)
    assert (row.times, row.reason) == (None, "integer division or modulo by zero")


def test_a_size_that_a_network_does_not_take_is_a_reason(setting):
    [row] = measure_times([Candidate("test_vit", "eager", "float32", 1, 33)], setting)
    assert row.times is None
    assert "33" in row.reason


def test_memory_grows_with_the_batch(setting):
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("the system cannot forget a peak")
    small, large = (measure_memory(dataclasses.replace(EAGER, batch=n, size=64), setting) for n in (1, 512))
    assert large > small + 5


def test_a_process_of_its_own():
    assert in_child(math.pow, 7, 2) == 49
    with pytest.raises(RuntimeError, match="measuring failed: math domain error"):
        in_child(math.acos, 2)
    with pytest.raises(RuntimeError, match="exit status 3"):
        in_child(os._exit, 3)
