"""The residual blocks around a spatial mixer."""

import torch.nn.functional as F
from timm.layers import BlurPool2d, DropPath
from torch import Tensor, nn

from cotnet.layers.conv import Conv
from cotnet.layers.mixers import create_mixer, get_mixer
from cotnet.layers.norm import norm_act
from cotnet.models.spec import Body, Stage


class Bottleneck(nn.Module):
    """1x1 convolution, mixer, 1x1 convolution, around a shortcut: [N, C, H, W] to [N, 4 planes, H', W'].

    Nothing stands between the mixer and the last convolution.
    """

    expansion = 4

    def __init__(
        self, body: Body, stage: Stage, mixer: str, in_dim: int, *, stride: int, dilation: int, drop_path: float
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
        self, body: Body, stage: Stage, mixer: str, in_dim: int, *, stride: int, dilation: int, drop_path: float
    ):
        super().__init__()
        dim = stage.planes
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        layer = create_mixer(mixer, dim, body.kernel_size, dilation=dilation)
        # `bn2` follows, so an ordinary convolution comes without norm and activation: ResNet's own block.
        self.mixer: nn.Module = layer.local.conv if isinstance(layer, Conv) else layer
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
    body: Body, mixer: str, dim: int, *, stride: int, dilation: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The mixer with what changes the size before and after it."""
    own_stride = {"stride": stride} if stride > 1 and body.downsample == "mixer" and get_mixer(mixer).strided else {}
    layer = create_mixer(mixer, dim, body.kernel_size, dilation=dilation, **own_stride)
    if get_mixer(mixer).linear:
        layer = nn.Sequential(layer, nn.BatchNorm2d(dim), nn.ReLU(inplace=True))
    if stride == 1 or own_stride:
        return nn.Identity(), layer, nn.Identity()
    if body.downsample == "blur":
        return nn.Identity(), layer, BlurPool2d(dim, filt_size=3, stride=stride)
    return nn.AvgPool2d(3, stride, padding=1), layer, nn.Identity()


def shortcut(body: Body, in_dim: int, out_dim: int, stride: int) -> nn.Module:
    """The identity where size and width stay, else a projection."""
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
