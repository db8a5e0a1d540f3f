"""The residual body, built from its description, with timm's model interface."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import SelectAdaptivePool2d, create_classifier
from timm.models._features import feature_take_indices
from timm.models._manipulate import checkpoint_seq
from torch import Tensor, nn

from cotnet.layers import get_mixer, init_weights
from cotnet.layers.norm import norm_act
from cotnet.models.blocks import BLOCKS, BasicBlock, Bottleneck
from cotnet.models.spec import Body, Stem


class ResidualNet(nn.Module):
    """Stem, stages of residual blocks, pooled classifier: [N, in_chans, H, W] to [N, num_classes].

    Args:
        body: The description of the network.
        num_classes: Width of the classifier; 0 leaves the pooled features.
        in_chans: Channels of an image.
        global_pool: timm's name of the last pooling, ``""`` for none.
        output_stride: The largest factor by which the network may down-sample; later stages dilate instead.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Probability of dropping the last block (stochastic depth); it grows linearly from zero at the
            first.

    Raises:
        ValueError: An output stride that the network cannot have, or a mixer that does not fit a width.
    """

    def __init__(
        self,
        body: Body,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int = 32,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f"expected an output_stride of 8, 16 or 32, got {output_stride=}")
        self.body, self.num_classes, self.drop_rate = body, num_classes, drop_rate
        self.grad_checkpointing = False

        stem, dim = body.stem, body.stem.widths[-1]
        self.conv1: nn.Module = stem_convolutions(stem, in_chans)
        self.bn1 = nn.BatchNorm2d(dim)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem.max_pool else nn.Identity()
        self.feature_info = [{"num_chs": dim, "reduction": stem.stride, "module": "act1"}]

        depth, block_type = sum(stage.depth for stage in body.stages), BLOCKS[body.block]
        drop_paths = iter(drop_path_rate * i / max(depth - 1, 1) for i in range(depth))
        reduction, dilation = stem.stride * (2 if stem.max_pool else 1), 1
        for number, stage in enumerate(body.stages, 1):
            stride, first_dilation = stage.stride, dilation
            if reduction * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reduction *= stride
            blocks = []
            for i in range(stage.depth):
                options = (
                    {"stride": stride, "dilation": first_dilation} if i == 0 else {"stride": 1, "dilation": dilation}
                )
                mixer = get_mixer(stage.mixer(i))
                blocks.append(block_type(body, stage, mixer, dim, drop_path=next(drop_paths), **options))
                dim = stage.planes * block_type.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": dim, "reduction": reduction, "module": f"layer{number}"})

        self.num_features = dim
        self.global_pool, self.fc = create_classifier(dim, num_classes, pool_type=global_pool)
        self.head_hidden_size = dim * _feature_multiple(self.global_pool)
        self._init_weights()

    def _init_weights(self) -> None:
        init_weights(self)
        for module in self.modules():
            if isinstance(module, (Bottleneck, BasicBlock)):
                module.zero_init_last()

    def stages(self) -> list[nn.Module]:
        """The stages in order."""
        return [getattr(self, f"layer{number}") for number in range(1, len(self.body.stages) + 1)]

    def _stem(self, x: Tensor) -> Tensor:
        return self.act1(norm_act(self.bn1, self.conv1(x)))

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        return checkpoint_seq(stage, x) if self.grad_checkpointing and not torch.jit.is_scripting() else stage(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """[N, in_chans, H, W] to the last stage's [N, num_features, H / 32, W / 32]."""
        x = self.maxpool(self._stem(x))
        for stage in self.stages():
            x = self._run(stage, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last stage's map to logits, or with ``pre_logits`` to the pooled features."""
        x = self.global_pool(x)
        x = F.dropout(x, self.drop_rate, self.training) if self.drop_rate else x
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_chans, H, W] to [N, num_classes]."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The maps of the stem (index 0) and of the stages (1 and on) at ``indices``, with or without the last one.

        Args:
            x: [N, in_chans, H, W].
            indices: Which maps; an int takes that many of the last ones, None all.
            norm: Has no effect, since the maps are normalised already.
            stop_early: Stop after the last of those maps.
            output_fmt: Only ``"NCHW"``.
            intermediates_only: Return only the maps at ``indices``.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"expected output_fmt 'NCHW', got {output_fmt!r}")
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        x = self._stem(x)
        maps = [x] if 0 in wanted else []
        x = self.maxpool(x)
        for number, stage in enumerate(self.stages()[:last] if stop_early else self.stages(), 1):
            x = self._run(stage, x)
            if number in wanted:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last map of ``indices``, and the classifier."""
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        kept = self.body.stages[:last]
        for number in range(len(kept) + 1, len(self.body.stages) + 1):
            delattr(self, f"layer{number}")
        self.body = Body(**{**vars(self.body), "stages": kept})
        if prune_head:
            self.reset_classifier(0, "")
        return wanted

    def get_classifier(self, name_only: bool = False) -> str | nn.Module:
        """The classifier."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier in place; 0 classes leave the pooled features."""
        if global_pool is None:
            global_pool = self.global_pool.pool_type if isinstance(self.global_pool, SelectAdaptivePool2d) else "avg"
        like = self.conv1[0].weight if isinstance(self.conv1, nn.Sequential) else self.conv1.weight
        self.num_classes = num_classes
        pool, classifier = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        self.global_pool, self.fc = pool, classifier.to(device=like.device, dtype=like.dtype)
        self.head_hidden_size = self.num_features * _feature_multiple(pool)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns that sort parameters by depth, for layer-wise learning rates."""
        return {"stem": r"^conv1|^bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save memory by computing each block's activations again in the backward pass."""
        self.grad_checkpointing = enable


def stem_convolutions(stem: Stem, in_chans: int) -> nn.Conv2d | nn.Sequential:
    """The stem's convolutions, with BatchNorm and ReLU between them; those after the last are the body's."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip((in_chans, *stem.widths), stem.widths, strict=False)):
        stride, padding = stem.stride if i == 0 else 1, stem.kernel_size // 2
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)] if i else []
        layers.append(nn.Conv2d(before, after, stem.kernel_size, stride, padding, bias=False))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)  # type: ignore[return-value]


def _feature_multiple(pool: nn.Module) -> int:
    return pool.feat_mult() if isinstance(pool, SelectAdaptivePool2d) else 1
