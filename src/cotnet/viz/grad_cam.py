"""Grad-CAM by captum: where in an image the evidence for a class lies."""

from typing import Any

import torch
from torch import Tensor, nn

from cotnet.viz.record_fields import eval_mode


def grad_cam(network: nn.Module, images: Tensor, classes: list[int], *, layer: str | None = None) -> Tensor:
    """Grad-CAM (arXiv 1610.02391) of one class for each image, at a layer's output.

    Args:
        network: From ``[N, 3, H, W]`` to logits ``[N, classes]``. It runs in eval mode; its gradients are left alone.
        images: Its input.
        classes: The number of the class to explain, one for each image.
        layer: A module whose output is a feature map ``[N, C, H', W']``; by default that of ``last_feature_map``.

    Returns:
        Heat maps ``[N, H', W']``, at least 0; only the proportions within an image have a meaning.

    Raises:
        ValueError: There is no such layer, its output is not a feature map, or there is no such class.
        ModuleNotFoundError: captum is not installed.
    """
    from captum.attr import LayerGradCam

    name = last_feature_map(network, images) if layer is None else layer
    modules = dict(network.named_modules())
    if name not in modules:
        raise ValueError(f"the network has no layer {name!r}; its modules are {', '.join(_children(network))}")
    method = LayerGradCam(network, modules[name])
    with eval_mode(network), torch.enable_grad():
        try:
            maps = method.attribute(images.detach().requires_grad_(), target=classes, relu_attributions=True)
        except (AssertionError, IndexError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"Grad-CAM of the classes {classes} at {name} is not possible: {reason}") from error
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        raise ValueError(f"the output of {name} is not a feature map [N, C, H, W]; choose another layer")
    return maps[:, 0].detach()


@torch.no_grad()
def last_feature_map(network: nn.Module, images: Tensor) -> str:
    """The module that gives the last feature map of more than one position, the usual place for Grad-CAM.

    Args:
        network: The network; it runs once, in eval mode.
        images: Its input, ``[N, 3, H, W]``.

    Returns:
        The module's name.

    Raises:
        ValueError: No module has such an output.
    """
    last: list[str] = []

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
                last.append(name)

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        with eval_mode(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise ValueError("no module of the network gives a feature map of more than one position")
    return last[-1]


def _children(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_children()]
