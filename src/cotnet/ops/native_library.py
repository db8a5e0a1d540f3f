"""Loader of the native CPU kernels: a shared library without ties to a torch or Python version, called by ctypes.

The library lies in this package's folder, where the build installs it. Without a C++ compiler at installation there is
none; `load` then says so.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cotnet.ops

NAME = "cotnet_native"
ISA_VARIABLE = "COTNET_NATIVE_ISA"
PATH_VARIABLE = "COTNET_NATIVE_LIBRARY"
INTERFACE = 2  # of native/library.cpp
ISAS = ("baseline", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_bf16")

STATUS_OUT_OF_MEMORY = 1

# A packed `Problem` (native/problem.h) and the addresses of three tensors, to a status.
Kernel = Callable[[bytes, int, int, int], int]


class NativeLibrary:
    """The loaded functions, of one instruction set; `isa` is its name, or empty for the best that the machine has."""

    def __init__(self, path: Path, isa: str):
        library = ctypes.CDLL(str(path))
        built = library.cotnet_interface()
        if built != INTERFACE:
            raise OSError(f"{path} has interface {built}, these sources need {INTERFACE}; install the package again")
        self._choose = library.cotnet_choose_isa
        self._choose.restype, self._choose.argtypes = ctypes.c_char_p, [ctypes.c_char_p]
        self.choose(isa)
        self.aggregate = _kernel(library.cotnet_aggregate)
        self.grad_value = _kernel(library.cotnet_grad_value)
        self.grad_weight = _kernel(library.cotnet_grad_weight)
        self.fused_cot = _packed_kernel(library.cotnet_fused_cot)
        self.winograd_conv = _packed_kernel(library.cotnet_winograd_conv)
        self.batch_norm_act = _packed_kernel(library.cotnet_batch_norm_act)
        self.batch_norm_act_backward = _packed_kernel(library.cotnet_batch_norm_act_backward)
        self.int8_conv = _packed_kernel(library.cotnet_int8_conv)
        self.int8_pool = _packed_kernel(library.cotnet_int8_pool)
        self.quantize = _packed_kernel(library.cotnet_quantize)
        self.int8_cot = _packed_kernel(library.cotnet_int8_cot)

    def choose(self, isa: str) -> None:
        """Use this instruction set from now on, in the whole process, or the best for an empty name.

        Raises:
            RuntimeError: the name is unknown, or this machine lacks the instruction set.
        """
        chosen = self._choose(isa.encode())
        if chosen is None:
            reason = "this machine does not support it" if isa in ISAS else f"expected one of {', '.join(ISAS)}"
            raise RuntimeError(f"cannot use {ISA_VARIABLE}={isa}: {reason}")
        self.isa: str = chosen.decode()


def _kernel(function: Any) -> Kernel:
    function.restype = ctypes.c_int
    function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    return function


def _packed_kernel(function: Any) -> Callable[[bytes], int]:
    """A kernel whose packed problem holds the addresses, too."""
    function.restype, function.argtypes = ctypes.c_int, [ctypes.c_char_p]
    return function


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


def _find() -> Path | None:
    forced = os.environ.get(PATH_VARIABLE)
    if forced is not None:
        return Path(forced)
    name = {"win32": f"lib{NAME}.dll", "darwin": f"lib{NAME}.dylib"}.get(sys.platform, f"lib{NAME}.so")
    # An editable install has two folders on the package's path: the sources, and what the build installed.
    folders = [Path(folder) for folder in cotnet.ops.__path__]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
