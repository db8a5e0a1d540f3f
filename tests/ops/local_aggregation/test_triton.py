"""The Triton implementation: its kernels in the interpreter, their compilation for GPUs, and when it serves."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from cotnet import local_aggregation
from cotnet.ops.local_aggregation import triton
from cotnet.ops.local_aggregation.contract import Geometry
from tests.ops.local_aggregation.oracle import channels_last, contiguous
from tests.ops.triton_compiled import TARGETS, check_interpreted, code_of, compile_for, loads_several, run_python

KERNELS = ("aggregate", "grad_value", "grad_weight")


def test_the_kernels_in_the_interpreter():
    check_interpreted(Path(__file__).with_name("triton_interpreted.py"))


@pytest.fixture(params=TARGETS, ids=lambda target: str(target[1]))
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The kernels, compiled for this GPU in place of a launch."""
    pytest.importorskip("triton")
    module = compile_for(request.param, triton.load(), KERNELS, monkeypatch)
    monkeypatch.setattr(triton, "unavailable", lambda x: None)
    monkeypatch.setattr(triton, "load", lambda: module)
    return module


@pytest.mark.parametrize(
    ("channels", "heads", "groups", "layout", "dtype"),
    [
        (256, 32, 1, contiguous, torch.float32),
        (256, 32, 1, channels_last, torch.bfloat16),
        (64, 2, 2, channels_last, torch.float16),
    ],
)
def test_the_kernels_compile_for_gpus(compiled, channels, heads, groups, layout, dtype):
    value, weight = torch.empty(2, channels, 8, 8, dtype=dtype), torch.empty(2, heads, 9, 8, 8, dtype=dtype)
    value = layout(value)
    geometry = Geometry(3, groups=groups)
    triton.aggregate(value, weight, geometry)
    triton.aggregate_grad_value(value, weight, geometry, 8, 8)
    triton.aggregate_grad_weight(value, value, geometry, heads)
    for name in KERNELS:
        for result in getattr(compiled, name).results:
            assert "fma" in code_of(result)
            # Neighbouring channels lie side by side: several in one access.
            assert loads_several(code_of(result)) == (layout is channels_last)


def test_an_explicit_request_says_why_it_cannot_be_served():
    with pytest.raises(RuntimeError, match="impl='triton' is not available: expected tensors on a GPU, got cpu"):
        local_aggregation(torch.ones(1, 8, 3, 3), torch.ones(1, 4, 9, 3, 3), 3, impl="triton")


def test_what_the_implementation_cannot_serve(monkeypatch):

    def on_a_gpu(dtype):
        return SimpleNamespace(device=torch.device("cuda"), dtype=dtype)

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 1080")
    assert "float8_e5m2" in triton.unavailable(on_a_gpu(torch.float8_e5m2))
    assert "GTX 1080" in triton.unavailable(on_a_gpu(torch.float32))


def test_triton_is_loaded_by_its_first_use_only():
    script = "import sys, cotnet.ops.fused_cot; print(any('triton_kernels' in name for name in sys.modules))"
    done = run_python("-c", script)
    assert "False" in done.stdout, done.stderr


def test_without_triton_torch_serves_and_one_notice_says_so():
    script = """
import sys
sys.modules["triton"] = None  # an import of it fails
import torch
from cotnet.ops.local_aggregation import native, reference, triton
torch.cuda.get_device_capability = lambda device: (8, 0)
from types import SimpleNamespace
from cotnet.ops.local_aggregation.contract import Geometry
available = triton.unavailable
triton.unavailable = lambda x: available(SimpleNamespace(device=torch.device("cuda"), dtype=x.dtype))
print(triton.unavailable(torch.ones(1)))
value, weight = torch.randn(1, 8, 3, 3), torch.randn(1, 4, 9, 3, 3)
for _ in range(2):
    assert torch.equal(triton.aggregate(value, weight, Geometry(3)), reference.aggregate(value, weight, Geometry(3)))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert "Triton is not installed" in done.stdout
    assert done.stderr.count("runs in plain PyTorch on the GPU") == 1
