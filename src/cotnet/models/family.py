"""The CoTNet family in timm's registry.

Source: *Contextual Transformer Networks for Visual Recognition* (Li, Yao, Pan, Mei), arXiv 2107.12292. The names
``cotnet*``, ``cotnext*`` and ``se_cotnetd_*`` with ``50`` and above are the authors'; ``cotnet18``, ``cotnet18_half``,
``cotnet_nano``, ``cotnet20_nano`` and ``cotnet8_nano`` are additions of this project, for small machines and images.
"""

import difflib
from collections.abc import Sequence
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from cotnet.models.pretrained import checkpoint_filter_fn, resolve_weights
from cotnet.models.residual_net import ResidualNet
from cotnet.models.spec import Body, Stage, Stem
from cotnet.models.variants import Mixers, vary

PLANES = (64, 128, 256, 512)
DEPTHS_50, DEPTHS_101, DEPTHS_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


def _cotnet(depths: tuple[int, ...], mixer: str = "cot", **options: Any) -> Body:
    """A ResNet with one mixer throughout."""
    stages = zip(depths, PLANES, (1, 2, 2, 2), strict=True)
    return Body(Stem(), tuple(Stage(depth, planes, stride, (mixer,)) for depth, planes, stride in stages), **options)


def _se_cotnetd(depths: tuple[int, ...], stem: tuple[int, ...] = (64, 64, 128), **options: Any) -> Body:
    """The hybrid: SE convolutions first, alternating with CoT in the third stage, CoT alone in the last."""
    mixers = (("se_conv",), ("se_conv",), ("cot", "se_conv"), ("cot",))
    stages = tuple(Stage(depth, planes, 2, mixer) for depth, planes, mixer in zip(depths, PLANES, mixers, strict=True))
    return Body(Stem(stem, kernel_size=3, max_pool=False), stages, shortcut="avg", **options)


BODIES = {
    "cotnet50": _cotnet(DEPTHS_50),
    "cotnet101": _cotnet(DEPTHS_101),
    "cotnext50_2x48d": _cotnet(DEPTHS_50, "coxt", cardinality=2, base_width=48),
    "cotnext101_2x48d": _cotnet(DEPTHS_101, "coxt", cardinality=2, base_width=48),
    "se_cotnetd_50": _se_cotnetd(DEPTHS_50, stem=(32, 32, 64)),
    "se_cotnetd_101": _se_cotnetd(DEPTHS_101),
    "se_cotnetd_152": _se_cotnetd(DEPTHS_152, downsample="blur"),
    "se_cotnetd_152_L": _se_cotnetd(DEPTHS_152, downsample="blur"),
    "se_cotnetd_200": _se_cotnetd((3, 24, 36, 3), downsample="blur"),
    "se_cotnetd_270": _se_cotnetd((4, 29, 53, 4), downsample="blur"),
    "cotnet18": _cotnet((2, 2, 2, 2), block="basic"),
    "cotnet18_half": Body(
        Stem((32,)),
        tuple(Stage(2, planes, stride, ("cot",)) for planes, stride in ((32, 1), (64, 2), (128, 2), (256, 2))),
        block="basic",
    ),
    "cotnet_nano": Body(
        Stem((32,), kernel_size=3, stride=1, max_pool=False),
        (Stage(2, 32, 1, ("cot",)), Stage(2, 64, 2, ("cot",)), Stage(3, 128, 2, ("cot",))),
        block="basic",
    ),
    "cotnet20_nano": Body(
        Stem((32,), kernel_size=3, stride=1, max_pool=False),
        (Stage(2, 16, 1, ("cot",)), Stage(2, 32, 2, ("cot",)), Stage(2, 64, 2, ("cot",))),
    ),
    "cotnet8_nano": Body(
        Stem((16,), kernel_size=3, stride=1),
        (Stage(1, 64, 1, ("cot",)), Stage(1, 128, 2, ("cot",)), Stage(1, 256, 2, ("cot",))),
        block="basic",
    ),
}


def _cfg(size: int = 224, crop_pct: float = 0.875, **options: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": (size // 32, size // 32),
        "crop_pct": crop_pct,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2107.12292",
        "paper_name": "Contextual Transformer Networks for Visual Recognition",
        **options,
    }


def _deep(size: int = 224, crop_pct: float = 0.875) -> dict[str, Any]:
    return _cfg(size, crop_pct, first_conv="conv1.0")


ADDITION = "An addition of this project, not one of the paper's models; no released weights."

default_cfgs = generate_default_cfgs(
    {
        "cotnet50": _cfg(),
        "cotnet101": _cfg(),
        "cotnext50_2x48d": _cfg(),
        "cotnext101_2x48d": _cfg(),
        "se_cotnetd_50": _deep(),
        "se_cotnetd_101": _deep(),
        "se_cotnetd_152": _deep(256, 0.888),
        "se_cotnetd_152_L": _deep(320, 0.909),
        "se_cotnetd_200": _deep(256, 0.888),
        "se_cotnetd_270": _deep(256, 0.888),
        "cotnet18": _cfg(description=ADDITION),
        "cotnet18_half": _cfg(description=ADDITION),
        "cotnet_nano": _cfg(64, 1.0, pool_size=(16, 16), description=ADDITION),
        "cotnet20_nano": _cfg(64, 1.0, pool_size=(16, 16), description=ADDITION),
        "cotnet8_nano": _cfg(32, 1.0, pool_size=(4, 4), description=ADDITION),
    }
)

# The authors' ImageNet-1k validation accuracy in percent, top-1 and top-5, 350-epoch set-up, at the default input size.
PUBLISHED_ACCURACY = {
    "cotnet50": (81.3, 95.6),
    "cotnext50_2x48d": (82.1, 95.9),
    "cotnet101": (82.8, 96.2),
    "cotnext101_2x48d": (83.2, 96.4),
    "se_cotnetd_50": (81.6, 95.8),
    "se_cotnetd_101": (83.2, 96.5),
    "se_cotnetd_152": (84.0, 97.0),
    "se_cotnetd_152_L": (84.6, 97.1),
}


def _create(
    name: str,
    pretrained: bool = False,
    mixers: Mixers | None = None,
    kernel_size: int | None = None,
    base_width: int | None = None,
    stem_stride: int | None = None,
    planes: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    **kwargs: Any,
) -> ResidualNet:
    varied: dict[str, Any] = {"kernel_size": kernel_size, "base_width": base_width, "stem_stride": stem_stride}
    body = vary(BODIES[name], mixers=mixers, planes=planes, depths=depths, **varied)
    if pretrained:
        kwargs = resolve_weights(name, kwargs)
    return build_model_with_cfg(
        ResidualNet,
        name,
        pretrained,
        body=body,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": tuple(range(len(body.stages) + 1))},
        **kwargs,
    )


def check_name(name: str) -> None:
    """Make sure that timm's registry, of which this family is a part, has a model of this name.

    Raises:
        ValueError: It has none; the message lists the closest names.
    """
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`cotnet models` lists this package's"
    raise ValueError(f"unknown model {name!r}; {hint}")


@register_model
def cotnet50(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """CoTNet-50: every 3x3 convolution of ResNet-50 replaced by CoT; 22.2 M parameters."""
    return _create("cotnet50", pretrained, **kwargs)


@register_model
def cotnet101(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """CoTNet-101; 38.3 M parameters."""
    return _create("cotnet101", pretrained, **kwargs)


@register_model
def cotnext50_2x48d(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """CoTNeXt-50, cardinality 2, base width 48; 30.0 M parameters."""
    return _create("cotnext50_2x48d", pretrained, **kwargs)


@register_model
def cotnext101_2x48d(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """CoTNeXt-101, cardinality 2, base width 48; 53.3 M parameters."""
    return _create("cotnext101_2x48d", pretrained, **kwargs)


@register_model
def se_cotnetd_50(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """SE-CoTNetD-50, the hybrid of SE convolutions and CoT on a deep stem; 23.1 M parameters."""
    return _create("se_cotnetd_50", pretrained, **kwargs)


@register_model
def se_cotnetd_101(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """SE-CoTNetD-101; 40.9 M parameters."""
    return _create("se_cotnetd_101", pretrained, **kwargs)


@register_model
def se_cotnetd_152(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """SE-CoTNetD-152 for 256 pixels; 55.8 M parameters."""
    return _create("se_cotnetd_152", pretrained, **kwargs)


@register_model
def se_cotnetd_152_L(pretrained: bool = False, **kwargs: Any) -> ResidualNet:  # noqa: N802 (the authors' name)
    """SE-CoTNetD-152 for 320 pixels; 55.8 M parameters."""
    return _create("se_cotnetd_152_L", pretrained, **kwargs)


@register_model
def se_cotnetd_200(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """SE-CoTNetD-200 for 256 pixels; 60.4 M parameters."""
    return _create("se_cotnetd_200", pretrained, **kwargs)


@register_model
def se_cotnetd_270(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """SE-CoTNetD-270 for 256 pixels; 83.4 M parameters."""
    return _create("se_cotnetd_270", pretrained, **kwargs)


@register_model
def cotnet18(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """An addition of this project: ResNet-18 with CoT for the second convolution of each basic block."""
    return _create("cotnet18", pretrained, **kwargs)


@register_model
def cotnet18_half(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """An addition of this project: CoTNet-18 at half its width, for detectors on small machines."""
    return _create("cotnet18_half", pretrained, **kwargs)


@register_model
def cotnet_nano(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """An addition of this project: about a million parameters, for images of 32 to 96 pixels."""
    return _create("cotnet_nano", pretrained, **kwargs)


@register_model
def cotnet20_nano(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """An addition of this project: bottlenecks in which only the mixer sees neighbours, for studies on small images."""
    return _create("cotnet20_nano", pretrained, **kwargs)


@register_model
def cotnet8_nano(pretrained: bool = False, **kwargs: Any) -> ResidualNet:
    """An addition of this project: one basic block per stage; a million parameters, which train in minutes on a CPU."""
    return _create("cotnet8_nano", pretrained, **kwargs)
