"""Loader of the native CPU kernels: a shared library without ties to a torch or Python version, called by ctypes.

The library lies in this package's folder, where the build installs it. Without a C++ compiler at installation there is
none; `load` then says so.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import cotnet.ops

NAME = "cotnet_native"
ISA_VARIABLE = "COTNET_NATIVE_ISA"
PATH_VARIABLE = "COTNET_NATIVE_LIBRARY"
INTERFACE = 3  # of native/library.cpp
ISAS = ("baseline", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16")

# The structs of native/abi.h: integers, floats, addresses. Their sizes are compared with those of the library.
PROBLEMS = {
    "AggregateProblem": Struct("26q"),
    "FusedCotProblem": Struct("13q d 22Q"),
    "Conv3x3Problem": Struct("8q 4Q"),
    "BatchNormActProblem": Struct("5q 2d 14Q"),
    "Int8ConvProblem": Struct("21q d 7Q"),
    "Int8PoolProblem": Struct("16q 2Q"),
    "Int8QuantizeProblem": Struct("10q d 2Q"),
    "Int8CotProblem": Struct("14q 3d 23Q"),
}

STATUS_OUT_OF_MEMORY = 1

# A packed problem, and the addresses of tensors that it does not hold, to a status.
Kernel = Callable[..., int]


class NativeLibrary:
    """The loaded kernels, of one instruction set; `isa` is its name.

    Args:
        path: The shared library.
        isa: The instruction set to use, or empty for the best that the machine has.

    Raises:
        OSError: The file is no library, or was built from other sources than these.
        RuntimeError: The instruction set is unknown, or this machine lacks it.
    """

    def __init__(self, path: Path, isa: str):
        library = ctypes.CDLL(str(path))
        _check_interface(library, path)
        self._choose = library.cotnet_choose_isa
        self._choose.restype, self._choose.argtypes = ctypes.c_char_p, [ctypes.c_char_p]
        self.choose(isa)
        self.aggregate = _kernel(library.cotnet_aggregate, addresses=3)
        self.grad_value = _kernel(library.cotnet_grad_value, addresses=3)
        self.grad_weight = _kernel(library.cotnet_grad_weight, addresses=3)
        self.fused_cot = _kernel(library.cotnet_fused_cot)
        self.winograd_conv = _kernel(library.cotnet_winograd_conv)
        self.batch_norm_act = _kernel(library.cotnet_batch_norm_act)
        self.batch_norm_act_backward = _kernel(library.cotnet_batch_norm_act_backward)
        self.int8_conv = _kernel(library.cotnet_int8_conv)
        self.int8_pool = _kernel(library.cotnet_int8_pool)
        self.int8_quantize = _kernel(library.cotnet_int8_quantize)
        self.int8_cot = _kernel(library.cotnet_int8_cot)

    def choose(self, isa: str) -> None:
        """Use this instruction set from now on, in the whole process, or the best for an empty name.

        Raises:
            RuntimeError: The name is unknown, or this machine lacks the instruction set.
        """
        name = self._choose(isa.encode())
        if name is None:
            reason = "this machine does not support it" if isa in ISAS else f"expected one of {', '.join(ISAS)}"
            raise RuntimeError(f"cannot use {ISA_VARIABLE}={isa}: {reason}")
        self.isa: str = name.decode()


def run(kernel: Kernel, problem: bytes, *addresses: int, what: str, shape: Sequence[int]) -> None:
    """Call a kernel.

    Args:
        kernel: One of a `NativeLibrary`.
        problem: What it is about, packed by one of `PROBLEMS`.
        addresses: Of the tensors that the problem does not hold.
        what: What is computed, for the error message.
        shape: Shape of its input, for the error message.

    Raises:
        MemoryError: There was no memory for the kernel's scratch.
    """
    status = kernel(problem, *addresses)
    if status == STATUS_OUT_OF_MEMORY:
        raise MemoryError(f"no memory for the scratch of {what} of {list(shape)}")
    assert status == 0, status


@cache
def load() -> NativeLibrary | str:
    """The library, or the reason why there is none.

    Raises:
        RuntimeError: `COTNET_NATIVE_ISA` names an instruction set that is unknown or that this machine lacks.
    """
    path = _find()
    if path is None:
        return "the package was installed without a C++ compiler, so its native CPU kernels were not built"
    try:
        return NativeLibrary(path, os.environ.get(ISA_VARIABLE, ""))
    except (OSError, AttributeError) as error:  # the latter where a library of another version lacks a kernel
        return f"the native CPU kernels could not be loaded: {error}"


def _check_interface(library: Any, path: Path) -> None:
    """Refuse a library whose functions or structs differ from what these sources call and pack."""
    again = "install the package again"
    if (built := library.cotnet_interface()) != INTERFACE:
        raise OSError(f"{path} has interface {built}, these sources need {INTERFACE}; {again}")
    library.cotnet_sizeof.restype, library.cotnet_sizeof.argtypes = ctypes.c_int64, [ctypes.c_char_p]
    for name, layout in PROBLEMS.items():
        if (size := library.cotnet_sizeof(name.encode())) != layout.size:
            raise OSError(f"{path} has a {name} of {size} bytes, these sources pack {layout.size}; {again}")


def _kernel(function: Any, *, addresses: int = 0) -> Kernel:
    """A function that takes a packed problem and that many addresses."""
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_char_p, *[ctypes.c_void_p] * addresses]
    return function


def _find() -> Path | None:
    forced = os.environ.get(PATH_VARIABLE)
    if forced is not None:
        return Path(forced)
    name = {"win32": f"lib{NAME}.dll", "darwin": f"lib{NAME}.dylib"}.get(sys.platform, f"lib{NAME}.so")
    # An editable install has two folders on the package's path: the sources, and what the build installed.
    folders = [Path(folder) for folder in cotnet.ops.__path__]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
