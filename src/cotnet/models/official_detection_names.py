"""Entry names of the released detectors' backbones, from and to those of the released classifiers.

A detector's file counts stages from res2 on, names each norm after the convolution before it, and numbers the parts of
a layer without their norms. ``bn``, which follows no convolution, and the parts of an SE convolution keep their names.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

PREFIX = "backbone.bottom_up."
# classifier -> detector
DETECTION_COT_PARTS = {
    "key_embed.1.": "key_embed.0.norm.",
    "embed.1.": "embed.0.norm.",
    "embed.3.": "embed.2.",
    "embed.4.": "embed.3.",
    "conv1x1.1.": "conv1x1.0.norm.",
    "se.1.": "se.0.norm.",
    "se.3.": "se.2.",
}
BLOCK_PARTS = {"bn1.": "conv1.norm.", "bn3.": "conv3.norm."}
SHORTCUT = {"downsample.0.": "shortcut.", "downsample.1.": "shortcut.norm."}
POOLED_SHORTCUT = {"downsample.1.": "shortcut.1.", "downsample.2.": "shortcut.1.norm."}
STEM = {"bn1.": "stem.conv1.norm.", "conv1.": "stem.conv1."}
DEEP_STEM = {"bn1.": "stem.conv1.7.", "conv1.": "stem.conv1."}


def is_detection(names: Iterable[str]) -> bool:
    """Whether entry names are those of a released detector or of its backbone alone."""
    return any(name.removeprefix(PREFIX).startswith(("res2.", "stem.")) for name in names)


def from_detection(entries: Mapping[str, T]) -> dict[str, T]:
    """Rename the backbone's entries to the released classifiers' names, and drop those of the other parts."""
    prefixed = any(name.startswith(PREFIX) for name in entries)
    backbone = {
        name.removeprefix(PREFIX): value for name, value in entries.items() if name.startswith(PREFIX) or not prefixed
    }
    stem, shortcut, cot = (
        _inverse(table) for table in _tables(backbone, "stem.conv1.7.", r"res\d+\.\d+\.shortcut\.1\.")
    )
    renamed = {}
    for name, value in backbone.items():
        stage = re.match(r"res(\d+)\.(\d+)\.", name)
        if stage:
            rest = name[stage.end() :]
            place = f"layer{int(stage[1]) - 1}.{stage[2]}."
            renamed[place + _in_block(rest, _inverse(BLOCK_PARTS) | shortcut, cot)] = value
        else:
            renamed[_replace(name, stem)] = value
    return renamed


def to_detection(entries: Mapping[str, T]) -> dict[str, T]:
    """Rename a released classifier's entries to those of a detector's backbone; the classifier ``fc`` is dropped."""
    stem, shortcut, cot = _tables(entries, "conv1.6.", r"layer\d+\.\d+\.downsample\.2\.")
    renamed = {}
    for name, value in entries.items():
        stage = re.match(r"layer(\d+)\.(\d+)\.", name)
        if stage:
            rest = name[stage.end() :]
            place = f"res{int(stage[1]) + 1}.{stage[2]}."
            renamed[PREFIX + place + _in_block(rest, BLOCK_PARTS | shortcut, cot)] = value
        elif not name.startswith("fc."):
            renamed[PREFIX + _replace(name, stem)] = value
    return renamed


def _tables(names: Iterable[str], deep_mark: str, pooled_mark: str) -> tuple[dict[str, str], ...]:
    """The tables of stem, shortcut and CoT layer for a network, recognised by entries that only such a network has."""
    names = list(names)
    deep = any(name.startswith(deep_mark) for name in names)
    pooled = any(re.match(pooled_mark, name) for name in names)
    return DEEP_STEM if deep else STEM, POOLED_SHORTCUT if pooled else SHORTCUT, DETECTION_COT_PARTS


def _in_block(rest: str, block: Mapping[str, str], cot: Mapping[str, str]) -> str:
    return "conv2." + _replace(rest[6:], cot) if rest.startswith("conv2.") else _replace(rest, block)


def _replace(name: str, table: Mapping[str, str]) -> str:
    """Replace the longest prefix that is in the table."""
    for old in sorted(table, key=len, reverse=True):
        if name.startswith(old):
            return table[old] + name.removeprefix(old)
    return name


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in table.items()}
