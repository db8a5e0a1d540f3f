"""The memory of a benchmark's process."""

import ctypes
import sys


def keep_pages() -> None:
    """Have glibc return no memory to the system."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_threshold = -1, -3  # the second takes no more than 32 MiB
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**25)
