"""The Triton implementation of the fused layer: in the interpreter, compiled for GPUs, and when it serves."""

from pathlib import Path

import pytest
import torch

from cotnet.ops.fused_cot import fused_cot, triton
from cotnet.ops.local_aggregation import triton as aggregation
from tests.ops.fused_cot.test_fused_cot import geometry_of, inputs
from tests.ops.triton_compiled import TARGETS, check_interpreted, code_of, compile_for, loads_several

KERNELS = ("moments", "contexts", "rows_times", "mix")


def test_the_kernels_in_the_interpreter():
    check_interpreted(Path(__file__).with_name("triton_interpreted.py"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target[1]))
@pytest.mark.parametrize(("dtype", "groups"), [(torch.float32, 1), (torch.bfloat16, 2)])
def test_the_kernels_compile_for_gpus(target, dtype, groups, monkeypatch):
    pytest.importorskip("triton")
    compiled = compile_for(target, triton.load(), KERNELS, monkeypatch)
    monkeypatch.setattr(triton, "load", lambda: compiled)
    monkeypatch.setattr(aggregation, "unavailable", lambda x: None)
    maps, _, tail, options = inputs(256, 32, groups, 3, 1, 2, 14, 14, dtype, behind=groups > 1)
    triton.context(maps["attention"], maps["value"], maps["static"], tail, options["eps"], geometry_of(options))
    for name in KERNELS:
        results = getattr(compiled, name).results
        assert len(results) == (1 if name == "mix" else 2)
        for result in results:
            assert "fma" in code_of(result)
    assert loads_several(code_of(compiled.mix.results[0]))


def test_what_cannot_be_served_runs_in_plain_pytorch(caplog):
    maps, projections, tail, options = inputs(16, 2, 1, 3, 1, 2, 5, 3, torch.float32)
    aggregation._notice.cache_clear()
    actual = triton.cot(maps["x"], maps["static"], projections, tail, options["eps"], geometry_of(options))
    expected = fused_cot(maps["x"], maps["static"], projections, tail, **options)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert "expected tensors on a GPU, got cpu" in caplog.text
