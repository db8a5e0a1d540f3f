"""The description of a residual network as data: another value gives another network, not another class."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Stem:
    """The first layers: convolutions with BatchNorm and ReLU, the first of them strided, and perhaps a max-pool.

    Attributes:
        widths: Output channels of each convolution.
        kernel_size: Window of each convolution.
        stride: Stride of the first convolution.
        max_pool: Halve the size once more by a 3x3 max-pool.
    """

    widths: tuple[int, ...] = (64,)
    kernel_size: int = 7
    stride: int = 2
    max_pool: bool = True


@dataclass(frozen=True)
class Stage:
    """A sequence of residual blocks at one size and width.

    Attributes:
        depth: Number of blocks.
        planes: Inner width of a block at base width 64 and cardinality 1; a bottleneck's output is four times as wide.
        stride: Down-sampling of the first block.
        mixers: Names of the spatial mixers of the blocks; they repeat over the stage.
    """

    depth: int
    planes: int
    stride: int
    mixers: tuple[str, ...]

    def mixer(self, block: int) -> str:
        """Name of the mixer in block number ``block``, from 0."""
        return self.mixers[block % len(self.mixers)]


@dataclass(frozen=True)
class Body:
    """A residual network.

    Attributes:
        stem: The first layers.
        stages: The stages in order.
        block: ``"bottleneck"`` (1x1, mixer, 1x1) or ``"basic"`` (3x3, mixer).
        cardinality: Together with ``base_width`` it sets the inner width of a bottleneck,
            ``planes * base_width // 64 * cardinality``.
        base_width: See ``cardinality``.
        shortcut: How a shortcut changes the size: ``"conv"`` by a strided 1x1 convolution, ``"avg"`` by an average
            pool before an unstrided one.
        downsample: How a block's mixer changes size: ``"mixer"`` by its own stride, or an average pool before a mixer
            that has none; ``"blur"`` by a blur-pool after it.
        kernel_size: Window of the mixers.
    """

    stem: Stem
    stages: tuple[Stage, ...]
    block: Literal["bottleneck", "basic"] = "bottleneck"
    cardinality: int = 1
    base_width: int = 64
    shortcut: Literal["conv", "avg"] = "conv"
    downsample: Literal["mixer", "blur"] = "mixer"
    kernel_size: int = 3

    def width(self, stage: Stage) -> int:
        """Inner width of the stage's blocks, the channels that its mixers see."""
        return stage.planes * self.base_width // 64 * self.cardinality
