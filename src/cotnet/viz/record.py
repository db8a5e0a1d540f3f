"""Keeping what the CoT layers of a network make of images, without altering the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cotnet.layers.attention import ContextAttention
from cotnet.layers.fusion import ContextFusion
from cotnet.models.select import stage_of
from cotnet.viz.field import Field


def cot_layers(network: nn.Module) -> dict[str, str]:
    """The layers that have a weight field, by name, with the stage that each stands in."""
    parts = [name for name, part in network.named_modules() if isinstance(part, ContextAttention)]
    return {layer: stage_of(network, layer) for layer in (name.rpartition(".")[0] for name in parts)}


@torch.no_grad()
def record(network: nn.Module, images: Tensor) -> list[Field]:
    """Run images through a network once and keep the weight field of every CoT layer.

    Args:
        network: any module with CoT layers in it, ours or a converted one; runs in eval mode. It is left as it was.
        images: its input, [N, 3, H, W].

    Returns:
        A field for each layer, in the order in which they ran; none where no layer is a CoT layer.

    Raises:
        ValueError: the network refuses the images.
    """
    weights: list[tuple[str, Tensor]] = []
    shares: dict[str, Tensor] = {}
    hooks = []
    for name, part in network.named_modules():
        layer = name.rpartition(".")[0]
        if isinstance(part, ContextAttention):

            def keep_weight(_: nn.Module, __: Any, weight: Tensor, layer: str = layer) -> None:
                weights.append((layer, weight.detach().float().cpu()))

            hooks.append(part.register_forward_hook(keep_weight))
        elif isinstance(part, ContextFusion):

            def keep_share(fusion: Any, contexts: Any, _: Tensor, layer: str = layer) -> None:
                shares[layer] = fusion.dynamic_share(*contexts).flatten(1).float().cpu()

            hooks.append(part.register_forward_hook(keep_share))
    try:
        with evaluating(network):
            network(images)
    except RuntimeError as error:
        raise ValueError(
            f"the network refuses images of shape {tuple(images.shape)}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return [_field(network, name, weight, shares.get(name)) for name, weight in weights]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards each part's own mode again."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _field(network: nn.Module, name: str, weight: Tensor, share: Tensor | None) -> Field:
    layer: Any = network.get_submodule(name)
    return Field(
        layer=name,
        stage=stage_of(network, name),
        weight=weight,
        kernel_size=layer.kernel_size,
        dilation=layer.dilation,
        groups=layer.attention.groups,
        channels=layer.value.conv.out_channels,
        dynamic_share=share,
    )
