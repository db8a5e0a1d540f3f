"""What of the machine this process may use."""

import os
import resource
import sys

import pytest

from cotnet.files.machine import affordable_workers


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted on Linux alone")
def test_workers_that_the_limit_of_open_files_allows(monkeypatch):
    used = len(os.listdir("/proc/self/fd"))
    for limit, expected in ((used + 500, 16), (used + 12 + 8 * 5 + 3, 5), (used + 10, 0), (used, 0)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, limit=limit: (limit, limit))
        assert affordable_workers(16) == expected
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert affordable_workers(1000) == 1000
