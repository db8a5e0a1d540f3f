"""What a measurement or a run was made on, in words."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_SPARE_FILES = 12  # descriptors for what else is opened


def processor() -> str:
    """The processor's name, as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), flags=re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def available_cpus() -> int:
    """How many processors this process may use: the affinity mask and a container's quota count, not the machine's."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota()))


def affordable_workers(count: int) -> int:
    """As many of ``count`` loader processes as the limit of open files allows; 0 where it allows none.

    A worker's pipes and the batches on their way from it take about eight descriptors. Where there are too few, torch
    waits for a long time and then fails with a traceback.

    Args:
        count: Number of loader processes that are wanted.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = len(os.listdir("/proc/self/fd"))
    except (ImportError, OSError):  # another system than Linux
        return count
    return count if limit == resource.RLIM_INFINITY else max(0, min(count, (limit - used - _SPARE_FILES) // 8))


def versions(*packages: str) -> dict[str, str]:
    """The versions of those of the packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _quota() -> int:
    """Processors that the control group allows, rounded up; 2**31 without a limit."""
    for quota, period in (
        ("/sys/fs/cgroup/cpu.max", None),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    ):
        try:
            words = Path(quota).read_text().split()
            if period is not None:
                words += Path(period).read_text().split()
            allowed, each = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or the word max
            continue
        if allowed > 0 and each > 0:
            return -(-allowed // each)
    return 2**31
