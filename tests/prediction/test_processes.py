"""Which process is the one that writes: one answer, whatever has been left in the environment."""

import os

import pytest

from cotnet.prediction.processes import Processes, ignore_stray_ranks, processes

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


@pytest.fixture
def environment(monkeypatch):
    for name in (*TORCHRUN, "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_torchrun_s_whole_set_counts(environment):
    for name, value in TORCHRUN.items():
        environment.setenv(name, value)
    assert processes() == Processes(3, 4, 1, 2, 2)
    ignore_stray_ranks()
    assert os.environ["RANK"] == "3"


@pytest.mark.parametrize("missing", [name for name in TORCHRUN if name != "RANK"])
@pytest.mark.parametrize("value", [None, "", "x", "-1"])
def test_a_part_of_it_is_one_process(environment, missing, value):
    for name, one in TORCHRUN.items():
        environment.setenv(name, one)
    if value is None:
        environment.delenv(missing)
    else:
        environment.setenv(missing, value)
    expected = Processes(3, 4, 1, 2, 2) if missing.startswith(("MASTER", "TORCHELASTIC")) and value else Processes()
    assert processes() == expected


@pytest.mark.parametrize("rank", ["1", "", "x", "-3", "1.5"])
def test_a_rank_alone_is_forgotten(environment, rank):
    environment.setenv("RANK", rank)
    environment.setenv("SLURM_PROCID", "y")
    assert processes().is_rank_zero
    ignore_stray_ranks()
    assert not {"RANK", "SLURM_PROCID"} & {*os.environ}
