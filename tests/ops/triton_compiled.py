"""Triton kernels compiled for GPUs that need not be there, and processes for what Triton fixes at import."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = [("cuda", 80, 32), ("hip", "gfx942", 64)]


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**variables, **environment}, cwd=ROOT)


def check_interpreted(tests: Path) -> None:
    """Run a file of tests in Triton's interpreter."""
    pytest.importorskip("triton")
    done = run_python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(tests), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


class Compiled:
    """In a kernel's place: compiled with the arguments of the call for a GPU that need not be there, and not run."""

    def __init__(self, kernel):
        self.kernel, self.results = kernel, []

    def __getitem__(self, grid):
        return partial(self.compile, grid=grid)

    def compile(self, *arguments, **constants):
        if not hasattr(self.kernel, "prune_configs"):  # of one tile
            self.results.append(self.kernel.warmup(*arguments, **constants))
            return
        self.kernel.nargs = dict(zip(self.kernel.arg_names, arguments, strict=False))
        tiles = self.kernel.prune_configs(constants)
        assert len(tiles) < 9
        for tile in (tiles[0], tiles[-1]):
            grid = constants["grid"](tile.kwargs)
            assert min(grid) > 0
            self.results.append(self.kernel.fn.warmup(*arguments, **constants, **tile.all_kwargs()))


def compile_for(target: tuple, kernels: ModuleType, names: tuple[str, ...], patch: pytest.MonkeyPatch) -> ModuleType:
    """A module of kernels that compile for a GPU in place of a launch."""
    compiler, runtime = pytest.importorskip("triton.backends.compiler"), pytest.importorskip("triton.runtime")

    class Driver:
        """What a compilation asks of a GPU's driver."""

        def get_current_target(self):
            return compiler.GPUTarget(*target)

        def get_current_device(self):
            return 0

        def get_current_stream(self, device):
            return 0

    module = ModuleType("compiled")
    module.tl = kernels.tl
    for name in names:
        setattr(module, name, Compiled(getattr(kernels, name)))
    patch.setattr(runtime.driver, "_active", Driver(), raising=False)
    return module


def code_of(result) -> str:
    return result.asm["ptx" if "ptx" in result.asm else "amdgcn"]


def loads_several(code: str) -> bool:
    """Whether several elements come in one access."""
    return "ld.global.v4" in code or "global_load_dwordx" in code or "buffer_load_dwordx" in code
