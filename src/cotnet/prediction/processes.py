"""Which of several processes this is, and what they tell one another: of a process group, or as torchrun says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

# torchrun sets all of these for each of its processes.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


@dataclass(frozen=True)
class Processes:
    """The processes that share the work.

    Attributes:
        rank: Number of this one, from 0.
        world_size: How many there are.
        local_rank: Number of this one on its machine.
        local_world_size: How many torchrun has started on its machine.
        machines: Number of machines that torchrun has started some on.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    machines: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the one that yields results, prints and writes."""
        return self.rank == 0


def processes() -> Processes:
    """The processes of the group that there is, else those that torchrun has started, else this one alone.

    A part of torchrun's variables, such as a ``RANK`` that a scheduler or a shell has left, does not make a process
    one of several.
    """
    started = _torchrun()
    if dist.is_available() and dist.is_initialized():
        if started.world_size == dist.get_world_size():
            return started
        return Processes(dist.get_rank(), dist.get_world_size())
    return started


def _torchrun() -> Processes:
    return Processes(*(int(os.environ[name]) for name in _TORCHRUN)) if _is_torchrun() else Processes()


def _is_torchrun() -> bool:
    numbers = [os.environ.get(name, "") for name in _TORCHRUN]
    return all(number.isdecimal() for number in numbers) and all(os.environ.get(name) for name in _ADDRESS)


def ignore_stray_ranks() -> None:
    """Remove variables from this process's environment that Lightning would take for a rank though torchrun set none.

    A ``RANK`` without the rest of torchrun's variables would silence this process, and one that is no number would end
    it with a traceback.
    """
    if "RANK" in os.environ and not _is_torchrun():
        del os.environ["RANK"]
    if "SLURM_NTASKS" in os.environ and not {"SLURM_STEP_ID", "SLURM_STEPID"} & os.environ.keys():
        del os.environ["SLURM_NTASKS"]  # of the job; no srun has started this process as one of its tasks
    for name in ("LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        if not os.environ.get(name, "0").isdecimal():
            del os.environ[name]


@contextmanager
def process_group(members: Processes) -> Iterator[None]:
    """A group of these processes inside the block: the one that there is, or a new one on the CPU."""
    if members.world_size == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(value: Any, members: Processes) -> list[Any]:
    """The values of all processes in the order of their ranks on rank zero, nothing on the others.

    All of them have to call this.

    Args:
        value: Plain values, which can be pickled.
        members: Inside their `process_group`.
    """
    if members.world_size == 1:
        return [value]
    gathered: list[Any] | None = [None] * members.world_size if members.is_rank_zero else None
    dist.gather_object(value, gathered)
    return gathered or []


def default_device(members: Processes) -> torch.device:
    """The accelerator that is this process's, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", members.local_rank % torch.cuda.device_count())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
