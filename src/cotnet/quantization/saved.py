"""Quantized networks in weights files, and back."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cotnet.files.weights import WeightsCard, write_weights
from cotnet.quantization.assembly import QuantizationReport, assemble, build_all, parts_of
from cotnet.quantization.build import Ranges
from cotnet.quantization.graph import plan


def save_quantized(path: Path, network: nn.Module, card: WeightsCard) -> None:
    """Write a quantized network as a weights file, which `cotnet.load`, `predict` and `validate` take.

    Args:
        path: Where to, usually ``*.safetensors``.
        network: What `cotnet.quantize` has made.
        card: Of the network in floats.

    Raises:
        ValueError: The network is not quantized.
        OSError: The file cannot be written.
    """
    report = getattr(network, "report", None)
    if not isinstance(report, QuantizationReport):
        raise ValueError(f"expected a network that `cotnet.quantize` has made, got a {type(network).__name__}")
    write_weights(path, network.state_dict(), replace(card, quantization=report.to_plain()))


def restore(model: nn.Module, entries: dict[str, Tensor], report: Mapping[str, Any]) -> nn.Module:
    """A quantized network from the state dict of one, and the architecture in floats that it was made from.

    Args:
        model: The architecture, with any weights.
        entries: The state dict.
        report: That of the quantized network, as plain values.

    Raises:
        ValueError: The report or the entries are not those of such a network.
    """
    try:
        known = QuantizationReport(**report)
    except TypeError as error:
        raise ValueError(f"the card's quantization is damaged: {error}") from error
    plain = {"observer": str, "corrects_bias": bool, "images": int, "in_floats": dict, "noise": dict}
    if any(not isinstance(getattr(known, key), kind) for key, kind in plain.items()):
        raise ValueError(f"the card's quantization is damaged: {report!r:.80}")
    fused, parts = parts_of(model)
    steps = {watched: plan(watched.traced, known.in_floats) for watched in parts}
    ranges = Ranges()
    restored = assemble(model, fused, parts, steps, build_all(steps, ranges), ranges, known)
    try:
        restored.load_state_dict(entries)
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise ValueError(f"the entries do not fit the quantized network: {last}") from error
    return restored
