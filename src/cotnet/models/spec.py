"""What a residual network is made of, as data: change a value here and get another network, not another class."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Stem:
    """The first layers: convolutions with BatchNorm and ReLU, the first of them strided, and perhaps a max-pool.

    Attributes:
        widths: output channels of each convolution.
        kernel_size: window of each convolution.
        stride: stride of the first convolution.
        max_pool: halve the size once more by a 3x3 max-pool.
    """

    widths: tuple[int, ...] = (64,)
    kernel_size: int = 7
    stride: int = 2
    max_pool: bool = True


@dataclass(frozen=True)
class Stage:
    """A run of residual blocks at one size and width.

    Attributes:
        depth: number of blocks.
        planes: inner width of a block at base width 64 and cardinality 1; a bottleneck's output is four times as wide.
        stride: down-sampling of the first block.
        mixers: name of the spatial mixer in each block, repeated over the stage.
    """

    depth: int
    planes: int
    stride: int
    mixers: tuple[str, ...]

    def mixer(self, block: int) -> str:
        """Name of the mixer in block number `block`, from 0."""
        return self.mixers[block % len(self.mixers)]


@dataclass(frozen=True)
class Body:
    """A residual network.

    Attributes:
        stem: its first layers.
        stages: its stages.
        block: `"bottleneck"` (1x1, mixer, 1x1) or `"basic"` (3x3, mixer).
        cardinality: with `base_width`, the inner width of a bottleneck is `planes * base_width // 64 * cardinality`.
        base_width: see `cardinality`.
        shortcut: how a shortcut changes size: `"conv"` by a strided 1x1 convolution, `"avg"` by an average pool before
            an unstrided one.
        downsample: how a block's mixer changes size: `"mixer"` by its own stride, or an average pool before a mixer
            that has none; `"blur"` by a blur-pool after it.
        kernel_size: window of the mixers.
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
