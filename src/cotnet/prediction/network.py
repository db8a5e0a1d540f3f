"""From a card and entries of unknown origin to a network: what both must be is checked in this one place."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cotnet.files.weights import WeightsCard
from cotnet.fusing.api import fuse
from cotnet.models.arguments import FORBIDDEN, argument_names
from cotnet.models.family import check_name
from cotnet.quantization.saved import restore

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


def check_card(path: Path, card: WeightsCard, *, task: str) -> None:
    """Make sure that a card describes a network for a task, and nothing that opens other files.

    Raises:
        ValueError: It does not; the message names the file.
    """
    if card.task != task:
        raise ValueError(f"{path} is a network for {card.task}, not for {task}")
    fault = _fault(card)
    if fault:
        raise ValueError(f"{path} cannot be used: {fault}")


def build_network(
    path: Path,
    card: WeightsCard,
    entries: dict[str, Tensor],
    create: Callable[..., Any],
    *,
    fused: bool,
    load: Callable[[Any, dict[str, Tensor]], object] = nn.Module.load_state_dict,
) -> Any:
    """The network that a card describes, with its weights, in eval mode.

    Args:
        path: The weights file, for messages.
        card: Checked by `check_card`.
        entries: The state dict.
        create: Builds the network from the card's ``kwargs``.
        fused: Fuse it for inference; see `cotnet.fuse`. One of bytes is fused already.
        load: From network and entries; by default nothing may be missing or left over.

    Raises:
        ValueError: The network cannot be built, or the weights do not fit or have diverged.
    """
    try:
        check_name(card.model)
        network = create(**card.kwargs)
    # A constructor can fail in any way over strange arguments.
    except Exception as error:
        raise ValueError(f"{path} describes a network for {card.task} that cannot be built: {error}") from error
    for name, value in entries.items():
        if not value.isfinite().all():
            raise ValueError(f"{path}: {name} contains infinite values or NaN; its training has diverged")
    try:
        if card.quantization:
            return restore(network, entries, card.quantization)
        load(network, entries)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit {card.model}: {str(error).splitlines()[-1].strip()}") from error
    network.eval()
    return fuse(network) if fused else network


def _fault(card: WeightsCard) -> str | None:
    """What is wrong in a card, or None."""
    p: dict[str, Any] = card.preprocessing
    if p["input_size"][0] != 3:
        return f"its network takes {p['input_size'][0]} channels, but images are read with 3"
    if p["interpolation"] not in INTERPOLATIONS:
        return f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {p['interpolation']!r:.80}"
    if not 0 < p["crop_pct"] <= 1:
        return f"crop_pct must be above 0 and at most 1, got {p['crop_pct']}"
    if not all(map(math.isfinite, p["mean"])) or not all(math.isfinite(s) and s > 0 for s in p["std"]):
        return f"mean must be finite and std above 0, got {p['mean']} and {p['std']}"
    limits = p.get("value_range", [0, 1])
    if not (_are_finite(limits) and len(limits) == 2 and limits[0] < limits[1]):
        return f"value_range must be two ascending numbers, got {limits!r:.80}"
    refused = FORBIDDEN.keys() & argument_names(card.kwargs)
    return f"its network's arguments may not include {', '.join(sorted(refused))}" if refused else None


def _are_finite(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(x, (int, float)) and math.isfinite(x) for x in values)
