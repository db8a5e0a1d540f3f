"""What the benchmarks share: their options, the machine's description, JSON lines, and the memory of the process."""

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotnet.files.machine import available_cpus, processor, versions
from cotnet.ops import native_library


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows the script's docstring, with the options that all scripts have.

    Args:
        doc: The script's `__doc__`.
    """
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path, metavar="FILE", help="append the measurements as JSON lines")
    return options


def machine() -> dict[str, Any]:
    """What the figures depend on besides the options."""
    library = native_library.load()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cpus": available_cpus(),
        "isa": library if isinstance(library, str) else library.isa,
        "versions": versions("cotnet", "torch", "timm"),
    }


def record(file: Path | None, *parts: Mapping[str, Any]) -> None:
    """Append one JSON line with all entries of the parts, if there is a file."""
    if file is None:
        return
    row = {key: value for part in parts for key, value in part.items()}
    with file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")


def keep_pages() -> None:
    """Have glibc return no memory to the system.

    Fresh pages for an output can cost more than the work, and whether the C library keeps freed pages depends on what
    ran before: luck that would decide ratios.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_threshold = -1, -3  # the second takes no more than 32 MiB
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**25)


def peak_mib(who: int) -> float:
    """Peak resident memory of this process or of its ended children.

    Args:
        who: `resource.RUSAGE_SELF` or `resource.RUSAGE_CHILDREN`.
    """
    import resource  # not on Windows

    peak = resource.getrusage(who).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
