"""Put a spatial mixer in the place of the 3x3 convolutions of any network."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from cotnet.layers import Mixer, get_mixer, init_weights
from cotnet.models.select import select

Where = str | Sequence[str] | Callable[[str, nn.Conv2d], bool]

_LISTED = 12  # names in a message


@dataclass
class Conversion:
    """What a conversion did, by the names of the convolutions; ``print`` shows it as a table.

    Attributes:
        mixer: Name of the mixer.
        changed: Each swapped convolution, with what it was and became.
        left: Each other convolution, with the reason.
        parameters: Number of parameters of the whole network, before and after.
    """

    mixer: str
    changed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    parameters: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        """The lists, one convolution a line."""
        before, after = self.parameters
        lines = [f"{len(self.changed)} convolutions became {self.mixer}; {before:,} parameters became {after:,}"]
        lines += [f"  {name}: {what}" for name, what in self.changed.items()]
        lines += [f"{len(self.left)} were left"] if self.left else []
        lines += [f"  {name}: {why}" for name, why in self.left.items()]
        return "\n".join(lines)


def convert(model: nn.Module, mixer: str = "cot", where: Where | None = None) -> nn.Module:
    """A copy of any network with a mixer in the place of its 3x3 convolutions; the network itself is not changed.

    A convolution is swapped if it keeps its width, pads with zeros by its dilation, and has a width that the mixer
    accepts; full, grouped and depthwise ones alike. A stride is kept: mixers that have none get a 3x3 average pool
    before them, as in CoTNet. The dilation becomes the mixer's (``mhsa`` has none: it sees the whole map). Everything
    else keeps its weights, including the norm and activation after the convolution. New weights start at random, on
    the convolution's device, in its dtype and mode.

    Args:
        model: The network.
        mixer: Name of a mixer, see ``cotnet.layers.mixers.MIXERS``.
        where: Which of the convolutions to swap; None means all. A module's name (``"layer4"``), a pattern
            (``"layer4.*.conv2"``), stages counted as the paper does (``"res5"``, ``"res4-5"``), a width in channels
            (``"width>=128"``), several of these (a convolution is swapped if any of them holds), or a function of name
            and convolution.

    Returns:
        The converted copy. Its attribute ``conversion`` is a ``Conversion``: what was swapped, what was left, and why.

    Raises:
        ValueError: An unknown mixer, or nothing to swap; the message lists what could have been.
    """
    kind = get_mixer(mixer)
    converted = copy.deepcopy(model)
    convolutions = _convolutions(converted)
    reasons = {name: _reason(conv, kind) for name, conv in convolutions.items()}
    possible = [name for name, reason in reasons.items() if reason is None]
    selected = select(converted, convolutions, where, possible=_listed(possible))
    report = Conversion(mixer, parameters=(_parameters(model), 0))
    replacements: dict[int, nn.Module] = {}
    for name, conv in convolutions.items():
        reason = reasons[name] if name in selected else "where does not select it"
        if reason is not None:
            report.left[name] = reason
            continue
        if id(conv) not in replacements:
            replacements[id(conv)] = _replacement(conv, kind)
        report.changed[name] = _description(conv, replacements[id(conv)])
        converted = _put(converted, name, replacements[id(conv)])
    if not report.changed:
        raise ValueError(_nothing(mixer, where, possible, selected, reasons))
    report.parameters = (report.parameters[0], _parameters(converted))
    converted.conversion = report  # type: ignore[assignment]
    return converted


def _convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Every 2-D convolution by name, a shared one by each of its names, except those inside this package's mixers."""
    mixers = [name for name, part in model.named_modules() if type(part).__module__.startswith("cotnet.layers")]
    inside = tuple(f"{name}." if name else "" for name in mixers)
    return {
        name: part
        for name, part in model.named_modules(remove_duplicate=False)
        if isinstance(part, nn.Conv2d) and not name.startswith(inside)
    }


def _reason(conv: nn.Conv2d, mixer: Mixer) -> str | None:
    """Why a convolution cannot be swapped, or ``None``."""
    if isinstance(conv, nn.modules.lazy.LazyModuleMixin):
        return "its width is not known yet; run the network once first"
    if type(conv) is not nn.Conv2d:
        return f"a {type(conv).__name__} may compute something else than a convolution"
    if conv.kernel_size != (3, 3):
        return f"its window is {conv.kernel_size[0]}x{conv.kernel_size[1]}, not 3x3"
    if conv.in_channels != conv.out_channels:
        return f"it goes from {conv.in_channels} to {conv.out_channels} channels, and a mixer keeps the width"
    if conv.stride[0] != conv.stride[1] or conv.dilation[0] != conv.dilation[1]:
        return f"stride {conv.stride} and dilation {conv.dilation} must be equal in rows and columns"
    if conv.padding_mode != "zeros":
        return f"it pads by {conv.padding_mode}, a mixer with zeros"
    if conv.padding != "same" and conv.padding != conv.dilation:
        return f"padding {conv.padding} with dilation {conv.dilation} changes the size"
    if conv._forward_hooks or conv._forward_pre_hooks:
        return "it has hooks, perhaps a weight or spectral norm"
    try:
        with torch.device("meta"):
            mixer.create(conv.out_channels, 3, dilation=conv.dilation[0])
    except ValueError as error:
        return str(error)
    return None


def _replacement(conv: nn.Conv2d, mixer: Mixer) -> nn.Module:
    stride = conv.stride[0]
    options = {"stride": stride} if stride > 1 and mixer.strided else {}
    layer = mixer.create(conv.out_channels, 3, dilation=conv.dilation[0], device=conv.weight.device, **options)
    init_weights(layer)
    layer = layer.to(dtype=conv.weight.dtype)  # after the start, so that it does not depend on the dtype
    if stride > 1 and not mixer.strided:
        layer = nn.Sequential(nn.AvgPool2d(3, stride, padding=1), layer)
    return layer.train(conv.training)


def _description(conv: nn.Conv2d, layer: nn.Module) -> str:
    extras: list[tuple[str, Any, bool]] = [
        ("stride", conv.stride[0], conv.stride[0] > 1),
        ("dilation", conv.dilation[0], conv.dilation[0] > 1),
        ("groups", conv.groups, conv.groups > 1),
    ]
    listed = "".join(f", {name} {value}" for name, value, unusual in extras if unusual)
    return f"{conv.out_channels} channels{listed}; {_parameters(conv):,} parameters became {_parameters(layer):,}"


def _put(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """The model with ``layer`` at ``name``."""
    if not name:
        return layer
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
    return model


def _nothing(mixer: str, where: Any, possible: list[str], selected: set[str], reasons: dict[str, str | None]) -> str:
    if not reasons:
        return "the network has no 2-D convolution; there is nothing to swap"
    if selected:
        first = [f"{name or 'it'}: {reasons[name]}" for name in reasons if name in selected]
        why = f"none of the convolutions asked for can become {mixer} ({_listed(first)})"
    else:
        why = f"no convolution fits where={where!r}"
    return f"{why}; {'these could have been swapped: ' + _listed(possible) if possible else 'nor could any other'}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _parameters(module: nn.Module) -> int:
    known = [p for p in module.parameters() if not isinstance(p, UninitializedParameter)]
    return sum(p.numel() for p in known)
