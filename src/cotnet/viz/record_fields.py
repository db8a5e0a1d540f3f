"""Recording what the CoT layers of a network compute, without altering the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cotnet.layers.attention import ContextAttention
from cotnet.layers.fusion import ContextFusion
from cotnet.models.select import stage_of
from cotnet.viz.weight_field import WeightField


def cot_layers(network: nn.Module) -> dict[str, str]:
    """The names of the layers that have a weight field, each with the stage that holds it."""
    attentions = [name for name, module in network.named_modules() if isinstance(module, ContextAttention)]
    return {layer: stage_of(network, layer) for layer in (name.rpartition(".")[0] for name in attentions)}


@torch.no_grad()
def record_fields(network: nn.Module, images: Tensor) -> list[WeightField]:
    """Run images through a network once and keep the weight field of every CoT layer.

    Args:
        network: Any module with CoT layers in it, also a converted one. It runs in eval mode and is left as it was.
        images: Its input, ``[N, 3, H, W]``.

    Returns:
        The fields in the order in which the layers ran; none for a network without CoT layers.

    Raises:
        ValueError: The network does not accept the images.
    """
    weights: list[tuple[str, Tensor]] = []
    shares: dict[str, Tensor] = {}
    hooks = []
    for name, module in network.named_modules():
        layer = name.rpartition(".")[0]
        if isinstance(module, ContextAttention):

            def keep_weight(_: nn.Module, __: Any, weight: Tensor, layer: str = layer) -> None:
                weights.append((layer, weight.detach().float().cpu()))

            hooks.append(module.register_forward_hook(keep_weight))
        elif isinstance(module, ContextFusion):

            def keep_share(fusion: Any, contexts: Any, _: Tensor, layer: str = layer) -> None:
                shares[layer] = fusion.dynamic_share(*contexts).flatten(1).float().cpu()

            hooks.append(module.register_forward_hook(keep_share))
    try:
        with eval_mode(network):
            network(images)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the network does not accept images of shape {tuple(images.shape)}: {reason}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return [_field(network, name, weight, shares.get(name)) for name, weight in weights]


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Switch a network to eval mode, and every module back to its own mode afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _field(network: nn.Module, name: str, weight: Tensor, share: Tensor | None) -> WeightField:
    layer: Any = network.get_submodule(name)
    return WeightField(
        layer=name,
        stage=stage_of(network, name),
        weight=weight,
        kernel_size=layer.kernel_size,
        dilation=layer.dilation,
        groups=layer.attention.groups,
        channels=layer.value.conv.out_channels,
        dynamic_share=share,
    )
