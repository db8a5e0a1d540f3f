"""Training in several processes: what it needs of Lightning's strategies, and FSDP2's sharding of a network."""

from pathlib import Path
from typing import Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy, StrategyRegistry
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from cotnet.training.lightning_private import keep_buffers_apart, layer_sync, save_in_one_file, set_layer_sync
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

    Each process has looked for a free folder by itself; one that starts later would see the first one's as taken.

    Args:
        users: What writes there; the best checkpoint asks the first process by itself.
    """

    def __init__(self, *users: HasFolder) -> None:
        self.users = users

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask the first process, as soon as the processes can talk."""
        folder = Path(trainer.strategy.broadcast(str(self.users[0].folder)))
        for user in self.users:
            user.folder = folder


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all processes; by default Lightning makes those of one machine tensor-parallel."""

    def setup_environment(self) -> None:
        """Make the mesh of the processes."""
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1
        super().setup_environment()


def name_strategies() -> None:
    """Register FSDP2 as a value of ``trainer.strategy``."""
    if "fsdp2" not in StrategyRegistry.available_strategies():
        StrategyRegistry.register("fsdp2", ShardedStrategy, "parameters sharded over the processes, block by block")


def suit_strategy(strategy: Strategy) -> None:
    """Set what a network with BatchNorm needs, before the strategy wraps it.

    DDP must not copy the first process's statistics to all others at every forward pass: each process gathers its own,
    which are averaged at the end of an epoch, and processes may validate different numbers of batches. SyncBN works on
    every device. A sharded network is saved in one file.
    """
    if isinstance(strategy, DDPStrategy):
        keep_buffers_apart(strategy)
    if isinstance(strategy, ModelParallelStrategy):
        save_in_one_file(strategy)
    if layer_sync(strategy) is not None:
        set_layer_sync(strategy, SyncNorm(strategy.root_device))


def sync_norms(network: nn.Module, strategy: Strategy) -> nn.Module:
    """The network, with synchronised norms where the trainer has been asked for them.

    For strategies that do not wrap the network and leave this to the module.
    """
    sync = layer_sync(strategy)
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
