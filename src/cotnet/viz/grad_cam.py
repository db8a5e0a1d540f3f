"""Grad-CAM by captum: which places of a map speak for a class."""

from typing import Any

import torch
from torch import Tensor, nn

from cotnet.viz.record import evaluating


def grad_cam(network: nn.Module, images: Tensor, classes: list[int], *, layer: str | None = None) -> Tensor:
    """Grad-CAM (arXiv 1610.02391) of one class of each image, at a layer's output.

    Args:
        network: from [N, 3, H, W] to logits [N, classes]; runs in eval mode. Its gradients are left as they were.
        images: its input.
        classes: the class to ask for, one for each image.
        layer: a module whose output is a map [N, C, H', W']; `None` takes `last_map`.

    Returns:
        [N, H', W'], at least 0; only the proportions within an image have a meaning.

    Raises:
        ValueError: there is no such layer, its output is no map, or the network gives no logits of such a class.
        ModuleNotFoundError: captum is not installed.
    """
    from captum.attr import LayerGradCam

    name = last_map(network, images) if layer is None else layer
    modules = dict(network.named_modules())
    if name not in modules:
        raise ValueError(
            f"the network has no layer {name!r}; its parts are {', '.join(dict(network.named_children()))}"
        )
    method = LayerGradCam(network, modules[name])
    with evaluating(network), torch.enable_grad():
        try:
            maps = method.attribute(images.detach().requires_grad_(), target=classes, relu_attributions=True)
        except (AssertionError, IndexError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"Grad-CAM of the classes {classes} at {name} is not possible: {reason}") from error
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        raise ValueError(f"the output of {name} is no map [N, C, H, W]; choose another layer")
    return maps[:, 0].detach()


@torch.no_grad()
def last_map(network: nn.Module, images: Tensor) -> str:
    """Name of the part whose output is the last map of more than one position, where Grad-CAM is mostly asked for.

    Raises:
        ValueError: no part has such an output.
    """
    last: list[str] = []

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
                last.append(name)

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in network.named_modules() if name]
    try:
        with evaluating(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise ValueError("no part of the network gives a map of more than one position")
    return last[-1]
