"""The residual blocks around a spatial mixer.

Legend: N batch, C and C' channels, H x W size; ``planes`` is the inner width of a block at base width 64.
"""

import torch.nn.functional as F
from timm.layers import BlurPool2d, DropPath
from torch import Tensor, nn

from cotnet.layers import Mixer, get_mixer
from cotnet.layers.norm import norm_act
from cotnet.models.spec import Body, Stage


class Bottleneck(nn.Module):
    """1x1 convolution, mixer, 1x1 convolution, around a shortcut: [N, C, H, W] to [N, 4 planes, H', W'].

    There is no norm between the mixer and the last convolution, unless the mixer is linear.
    """

    expansion = 4

    def __init__(
        self, body: Body, stage: Stage, mixer: Mixer, in_dim: int, *, stride: int, dilation: int, drop_path: float
    ):
        super().__init__()
        width, out_dim = body.width(stage), stage.planes * self.expansion
        self.conv1 = nn.Conv2d(in_dim, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool, self.mixer, self.blur = spatial_mix(body, mixer, width, stride=stride, dilation=dilation)
        self.conv3 = nn.Conv2d(width, out_dim, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_dim)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = shortcut(body, in_dim, out_dim, stride)

    def zero_init_last(self) -> None:
        """Start as the shortcut alone."""
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, 4 planes, H', W']."""
        y = norm_act(self.bn1, self.conv1(x), "relu")
        y = self.blur(self.mixer(self.pool(y)))
        return join(self.bn3, self.conv3(y), self.drop_path, self.downsample(x))


class BasicBlock(nn.Module):
    """3x3 convolution, mixer, BatchNorm, around a shortcut: [N, C, H, W] to [N, planes, H', W']."""

    expansion = 1

    def __init__(
        self, body: Body, stage: Stage, mixer: Mixer, in_dim: int, *, stride: int, dilation: int, drop_path: float
    ):
        super().__init__()
        dim = stage.planes
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        # `bn2` follows: where a mixer exists without its last norm and activation, that one is ResNet's block.
        linear = get_mixer(mixer.without_norm) if mixer.without_norm else mixer
        self.mixer = linear.create(dim, body.kernel_size, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.downsample = shortcut(body, in_dim, dim, stride)

    def zero_init_last(self) -> None:
        """Start as the shortcut alone."""
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, planes, H', W']."""
        y = norm_act(self.bn1, self.conv1(x), "relu")
        return join(self.bn2, self.mixer(y), self.drop_path, self.downsample(x))


def join(norm: nn.Module, y: Tensor, drop_path: nn.Module, shortcut: Tensor) -> Tensor:
    """The end of a block: norm and stochastic depth of its branch, then ReLU of the sum with the shortcut."""
    if isinstance(drop_path, nn.Identity):
        return norm_act(norm, y, "relu", residual=shortcut)
    return F.relu(drop_path(norm_act(norm, y)).add_(shortcut), inplace=True)


def spatial_mix(
    body: Body, mixer: Mixer, dim: int, *, stride: int, dilation: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The pooling before the mixer, the mixer, and the blur-pool after it; identities where nothing is pooled."""
    strided = stride > 1 and body.downsample == "mixer" and mixer.strided
    options = {"stride": stride} if strided else {}
    layer = mixer.create(dim, body.kernel_size, dilation=dilation, **options)
    if mixer.linear:
        layer = nn.Sequential(layer, nn.BatchNorm2d(dim), nn.ReLU(inplace=True))
    if stride == 1 or strided:
        return nn.Identity(), layer, nn.Identity()
    if body.downsample == "blur":
        return nn.Identity(), layer, BlurPool2d(dim, filt_size=3, stride=stride)
    return nn.AvgPool2d(3, stride, padding=1), layer, nn.Identity()


def shortcut(body: Body, in_dim: int, out_dim: int, stride: int) -> nn.Module:
    """The identity where size and width stay the same, else a projection."""
    if stride == 1 and in_dim == out_dim:
        return nn.Identity()
    norm = nn.BatchNorm2d(out_dim)
    if body.shortcut == "conv":
        return Projection(nn.Conv2d(in_dim, out_dim, 1, stride, bias=False), norm)
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
    return Projection(pool, nn.Conv2d(in_dim, out_dim, 1, bias=False), norm)


class Projection(nn.Sequential):
    """A shortcut that changes size or width; its last module is a norm."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C', H', W']."""
        *others, norm = self
        for module in others:
            x = module(x)
        return norm_act(norm, x)


BLOCKS: dict[str, type[Bottleneck] | type[BasicBlock]] = {"bottleneck": Bottleneck, "basic": BasicBlock}
