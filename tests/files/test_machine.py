"""What a run may use, not what the machine has."""

import os
from pathlib import Path

import pytest

from cotnet.files import machine


@pytest.fixture
def files(monkeypatch):
    """Files of the system by path, in the place of the real ones."""
    content = {}

    def read(self, **options):
        if str(self) not in content:
            raise FileNotFoundError(str(self))
        return content[str(self)]

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(Path, "is_file", lambda self: str(self) in content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    return content


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ({}, 12),
        ({"cpu.max": "max 100000\n"}, 12),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 12),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 12),
        ({"cpu.max": ""}, 12),
    ],
)
def test_the_quota_of_a_container_counts(files, content, cpus):
    files |= {f"/sys/fs/cgroup/{name}": text for name, text in content.items()}
    assert machine.available_cpus() == cpus


def test_the_affinity_mask_counts(files, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert machine.available_cpus() == 2


def test_a_system_without_affinity_masks(files, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.available_cpus() == 1


def test_the_processor_is_named(files):
    files["/proc/cpuinfo"] = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t: x\n"
    assert machine.processor() == "Some CPU @ 2.00GHz"


@pytest.mark.parametrize("content", [{}, {"/proc/cpuinfo": "processor: 0\n"}])
def test_a_processor_without_a_model_name_is_its_architecture(files, content, monkeypatch):
    files |= content
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    assert machine.processor() == "riscv64"


def test_versions_are_of_installed_packages():
    versions = machine.versions("torch", "a-package-that-is-nowhere")
    assert list(versions) == ["torch"]
    assert versions["torch"].startswith("2.")
