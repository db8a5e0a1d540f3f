"""Measurements: in turn, compared with eager, with ratios where they are due."""

import dataclasses
import math
import os

import pytest
import torch
from torch import nn

from cotnet.bench import candidates, measure
from cotnet.bench.candidates import Candidate, Setting
from cotnet.bench.figure import draw_times
from cotnet.bench.measure import Measurement, in_child, measure_memory, measure_times
from cotnet.bench.peers import PUBLISHED, find_models, measurable_peers, published_size
from cotnet.bench.rows import best_modes, to_rows
from cotnet.bench.timing import Times, interleave
from cotnet.models import BODIES, PUBLISHED_ACCURACY

EAGER = Candidate("test_resnet", "eager", "float32", 1, 32)


@pytest.fixture
def setting(tmp_path):
    return Setting(torch.get_num_threads(), "channels_last", blocks=2, block_ms=1, folder=tmp_path)


def test_blocks_come_in_turn():
    calls = []
    times = interleave({name: lambda n=name: calls.append(n) for name in "ab"}, blocks=3, block_ms=1, max_calls=2)
    blocks = "".join(calls[4:])  # after two calls of each to find out how long they are
    assert blocks == ("a" * 3 + "b" * 3) * 3  # one untimed, two timed
    assert all(t.quartiles_ms[0] <= t.median_ms <= t.quartiles_ms[1] for t in times.values())
    assert interleave({"a": lambda: None}, blocks=2, block_ms=math.inf, max_calls=2)  # as many calls as there may be


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


def test_the_weights_hide_nothing():
    """With a last norm of zero, as networks start, a branch would not show in the answer."""
    network = candidates.create_network("cotnet_nano")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = network(x)
        network.layer3[2].mixer.value.conv.weight *= 1.01
        assert (network(x) - before).abs().max() / before.abs().max() > measure.TOLERANCE


def test_ratios_are_to_the_baseline_of_the_same_run():
    def row(model, mode, ms, **options):
        return Measurement(Candidate(model, mode, "float32", 2, 32), Times(ms, (ms, ms)), 0.0, **options)

    rows = [
        row("base", "eager", 4.0),
        row("base", "compiled", 3.0),
        row("ours", "eager", 2.0),
        row("ours", "fused", 1.5),
        row("ours", "frozen", 1.0, reason="answers differ", wrong_answers=True),
    ]
    plain = to_rows(rows, [None] * 5, "base")
    assert [(p.get("ratio_same_mode"), p.get("ratio_best")) for p in plain] == [
        (1.0, 0.75), (1.0, 1.0), (2.0, 1.5), (None, 2.0), (None, None),
    ]  # fmt: skip
    assert plain[3]["images_per_s"] == pytest.approx(2 / 1.5e-3, rel=1e-3)
    assert best_modes(plain) == {("base", 32): 1.5, ("ours", 32): 0.75}


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


def test_the_published_facts():
    names = {peer.name for peer in PUBLISHED}
    assert set(PUBLISHED_ACCURACY) <= names
    for peer in PUBLISHED:
        assert 70 < peer.top1 < 90
        if peer.setup == "advanced" and peer.name in PUBLISHED_ACCURACY:
            assert peer.top1 == PUBLISHED_ACCURACY[peer.name][0]
    with torch.device("meta"):
        for name in ("seresnet50d", "botnet26t_256"):
            candidates.timm.create_model(candidates.PEERS[name].timm, **candidates.PEERS[name].kwargs)
    assert set(find_models(measurable_peers())) == set(measurable_peers())


def test_names_of_models():
    assert find_models(["cotnet50", "cotnet1*"])[:2] == ["cotnet50", "cotnet101"]
    assert find_models(["cotnet50", "cotnet50"]) == ["cotnet50"]
    with pytest.raises(ValueError, match="unknown model 'resnt50'; did you mean resnet50"):
        find_models(["resnt50"])
    assert {name: published_size(name) for name in ("cotnet50", "se_cotnetd_152_L", "resnet50", "test_vit")} == {
        "cotnet50": 224, "se_cotnetd_152_L": 320, "resnet50": 224, "test_vit": 160,
    }  # fmt: skip
    assert set(BODIES) <= set(find_models(["*cotne*"]))


def test_figure(tmp_path):
    missing = draw_times({("cotnet50", 224): 20.0, ("cotnet18", 224): 9.0}, tmp_path / "f.png", title="here")
    assert missing == ["cotnet18 at 224"]
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
