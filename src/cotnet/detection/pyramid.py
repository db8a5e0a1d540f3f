"""Any timm network as a detection backbone: its maps of strides 4 to 32 in a feature pyramid, with frozen stages."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import timm
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cotnet.models.family import check_name

Norm = Literal["batch", "group", "none"]
STRIDES = (4, 8, 16, 32)


class PyramidBackbone(nn.Module):
    """The maps P2 to P6 of an image, all of one width (Lin et al., Feature Pyramid Networks, arXiv 1612.03144).

    Args:
        body: A network of timm, created with ``features_only=True``, that returns the maps of strides 4, 8, 16 and 32.
        out_channels: Width of the pyramid's maps.
        norm: Normalisation in the pyramid.
        frozen: The number of first parts that keep their parameters and statistics: 0 none, 1 the stem, 2 the stem and
            the stage of stride 4 (res2), up to 5.
        frozen_norm: Keep the parameters and statistics of every BatchNorm in the body.

    Raises:
        ValueError: An option is outside its range, or the parts of the body cannot be told apart for freezing.
    """

    def __init__(
        self,
        body: nn.Module,
        out_channels: int = 256,
        *,
        norm: Norm = "batch",
        frozen: int = 2,
        frozen_norm: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.out_channels = out_channels
        info: Any = body.feature_info
        self.pyramid = FeaturePyramidNetwork(
            info.channels(), out_channels, extra_blocks=LastLevelMaxPool(), norm_layer=norm_layer(norm)
        )
        # By name, since SyncBatchNorm replaces modules.
        self._frozen = _first_parts(body, frozen)
        if frozen_norm:
            norms = nn.modules.batchnorm._BatchNorm
            self._frozen += [name for name, module in body.named_modules() if isinstance(module, norms)]
        for name in self._frozen:
            body.get_submodule(name).requires_grad_(False)

    def train(self, mode: bool = True) -> "PyramidBackbone":
        """As `torch.nn.Module.train`, except that frozen parts stay in eval mode."""
        super().train(mode)
        for name in self._frozen:
            self.body.get_submodule(name).eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[N, 3, H, W] to the maps ``"0"`` to ``"3"`` and ``"pool"`` of strides 4 to 64, [N, out_channels, h, w]."""
        maps = self.body(images)
        if getattr(self.body, "output_fmt", "NCHW") == "NHWC":
            maps = [x.permute(0, 3, 1, 2).contiguous() for x in maps]
        return self.pyramid(OrderedDict((str(level), x) for level, x in enumerate(maps)))


def create_body(name: str, **options: Any) -> nn.Module:
    """A network of timm's registry that returns its maps of strides 4, 8, 16 and 32.

    Args:
        name: Name of a network of the CoTNet family, or any other.
        options: Arguments of the network's constructor, such as ``pretrained`` or ``drop_path_rate``.

    Raises:
        ValueError: The name is unknown, the network refuses an option, or it has no such maps.
    """
    check_name(name)
    try:
        info: Any = timm.create_model(name, features_only=True, **{**options, "pretrained": False}).feature_info
        strides = info.reduction()
        missing = [stride for stride in STRIDES if stride not in strides]
        if not missing:
            # Of several maps of one stride the last one, which is the deepest.
            last = tuple(max(i for i, stride in enumerate(strides) if stride == wanted) for wanted in STRIDES)
            return timm.create_model(name, features_only=True, out_indices=last, **options)
    except (RuntimeError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"{name} with {options} cannot serve as a backbone: {error}") from error
    raise ValueError(
        f"{name} cannot serve as a backbone: it has maps of strides {strides}, detection needs {list(STRIDES)}"
    )


def norm_layer(norm: Norm) -> Callable[[int], nn.Module] | None:
    """The constructor of a normalisation, which takes the number of channels; None for none.

    Args:
        norm: ``"batch"``, ``"group"`` or ``"none"``.

    Raises:
        ValueError: The name is unknown.
    """
    layers: dict[str, Callable[[int], nn.Module] | None] = {
        "batch": nn.BatchNorm2d,
        "group": partial(nn.GroupNorm, 32),
        "none": None,
    }
    if norm not in layers:
        raise ValueError(f"expected norm 'batch', 'group' or 'none', got {norm!r}")
    return layers[norm]


def _first_parts(body: nn.Module, count: int) -> list[str]:
    """Names of the modules that lie wholly within the first ``count`` parts, in the order of the network."""
    if not 0 <= count <= len(STRIDES) + 1:
        raise ValueError(f"expected frozen from 0 (nothing) to 5 (stem and four stages), got {count}")
    if count == 0:
        return []
    info: Any = body.feature_info
    # timm flattens a path to one name where it builds the network of maps anew.
    stages = [name.replace(".", "_") + "_" for name in info.module_name()]
    modules = [name for name, _ in body.named_modules()]
    flat = [name.replace(".", "_") + "_" for name in modules]
    inside = [[i for i, name in enumerate(flat) if name.startswith(stage)] for stage in stages]
    if not all(inside):
        raise ValueError(f"the stages of this {type(body).__name__} cannot be told apart to freeze them; use frozen=0")
    end = inside[0][0] if count == 1 else inside[count - 2][-1] + 1
    # Without the root, whose name is empty, and without modules that contain a later one.
    return [modules[i] for i in range(1, end) if not any(later.startswith(flat[i]) for later in flat[end:])]
