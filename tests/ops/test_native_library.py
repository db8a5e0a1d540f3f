"""Loading the native library: which file, which instruction set, and whether it fits the sources."""

from struct import Struct

import pytest

from cotnet.ops import native_library
from tests.ops.conftest import run_script

LIBRARY = native_library.load()
pytestmark = pytest.mark.skipif(isinstance(LIBRARY, str), reason=f"no native library: {LIBRARY}")

# `load` remembers its answer.
load_again = native_library.load.__wrapped__


def test_the_environment_forces_an_instruction_set():
    script = "from cotnet.ops import native_library; print(native_library.load().isa)"
    assert run_script(script, COTNET_NATIVE_ISA="baseline").stdout == "baseline\n"


def test_an_unknown_instruction_set_is_an_error():
    done = run_script("from cotnet.ops import native_library; native_library.load()", COTNET_NATIVE_ISA="mmx")
    assert "COTNET_NATIVE_ISA=mmx" in done.stderr
    assert "expected one of baseline, avx2, avx_vnni, avx512" in done.stderr


def test_a_library_of_another_interface_is_refused(monkeypatch):
    monkeypatch.setattr(native_library, "INTERFACE", native_library.INTERFACE + 1)
    assert "install the package again" in load_again()


@pytest.mark.parametrize("name", native_library.PROBLEMS)
def test_a_struct_with_one_field_more_is_refused_though_the_interface_is_the_same(name, monkeypatch):
    longer = Struct(native_library.PROBLEMS[name].format + "q")
    monkeypatch.setitem(native_library.PROBLEMS, name, longer)
    reason = load_again()
    assert f"a {name} of {longer.size - 8} bytes" in reason
    assert f"{longer.size}; install the package again" in reason


def test_a_struct_that_the_library_does_not_know_is_refused(monkeypatch):
    monkeypatch.setitem(native_library.PROBLEMS, "AnotherProblem", Struct("q"))
    assert "AnotherProblem of 0 bytes" in load_again()


def test_scratch_that_cannot_be_had_is_a_memory_error():
    with pytest.raises(MemoryError, match=r"no memory for the scratch of a test of \[2, 3\]"):
        native_library.run(lambda problem: native_library.STATUS_OUT_OF_MEMORY, b"", what="a test", shape=(2, 3))
