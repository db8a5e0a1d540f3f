"""What training in several processes asks of Lightning's strategies, and FSDP2's sharding of a network."""

from pathlib import Path
from typing import Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy, StrategyRegistry
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from cotnet.training.sync_norm import SyncNorm


@rank_zero_only
def rank_zero_print(line: str) -> None:
    """Print in one process alone."""
    print(line, flush=True)


class HasFolder(Protocol):
    """Writes into the run folder."""

    folder: Path


class OneFolder(Callback):
    """Gives every process the run folder of the first one.

    Each has looked for a free one by itself, and one that starts later finds the first one's taken.

    Args:
        users: What is to write there; the best checkpoint asks the first process by itself.
    """

    def __init__(self, *users: HasFolder) -> None:
        self.users = users

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask the first process, as soon as the processes can talk."""
        folder = Path(trainer.strategy.broadcast(str(self.users[0].folder)))
        for user in self.users:
            user.folder = folder


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all processes, where Lightning by itself makes those of a machine tensor-parallel."""

    def setup_environment(self) -> None:
        """Make the mesh of the processes."""
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1
        super().setup_environment()


def name_strategies() -> None:
    """Make FSDP2 a value of ``trainer.strategy``."""
    if "fsdp2" not in StrategyRegistry.available_strategies():
        StrategyRegistry.register("fsdp2", ShardedStrategy, "parameters sharded over the processes, block by block")


def suit_strategy(strategy: Strategy) -> None:
    """Set what a network with BatchNorm needs, before the strategy wraps it.

    DDP must not copy the first process's statistics to all at every forward pass: each process gathers its own, which
    are averaged at the end of an epoch, and processes may validate different numbers of batches. SyncBN works on every
    device. A sharded network is saved in one file.
    """
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs.setdefault("broadcast_buffers", False)
    if isinstance(strategy, ModelParallelStrategy):
        strategy._save_distributed_checkpoint = False
    if getattr(strategy, "_layer_sync", None) is not None:
        strategy._layer_sync = SyncNorm(strategy.root_device)  # type: ignore[attr-defined]


def sync_norms(network: nn.Module, strategy: Strategy) -> nn.Module:
    """The network with synchronised norms where the trainer has been asked for them.

    For a strategy that wraps nothing itself, which leaves this to the module.
    """
    sync: SyncNorm | None = getattr(strategy, "_layer_sync", None)
    return network if sync is None else sync.apply(network)


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Shard the parameters over the processes of a mesh, block by block (FSDP2).

    Args:
        network: Any network; its blocks are the members of its sequences and lists of modules.
        mesh: Lightning's, with the dimension ``data_parallel``.
    """
    network.to(memory_format=torch.contiguous_format)  # it refuses others; images may come in any layout
    over = mesh["data_parallel"]
    for part in network.children():
        for block in part if isinstance(part, (nn.Sequential, nn.ModuleList)) else ():
            fully_shard(block, mesh=over)
    fully_shard(network, mesh=over)
