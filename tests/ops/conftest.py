"""What the operators' tests share."""

import os
import subprocess
import sys

import pytest

from cotnet.ops import native_library


@pytest.fixture(params=native_library.ISAS)
def isa(request):
    """Each instruction set in turn, of those that this processor has."""
    library = native_library.load()
    if isinstance(library, str):
        pytest.skip(library)
    before = library.isa
    try:
        library.choose(request.param)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    yield request.param
    library.choose(before)


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, with one thread unless the environment says otherwise."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**variables, **environment}, timeout=100
    )
