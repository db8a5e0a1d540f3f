"""Entry names of the released checkpoints, translated to this package's and back.

The body keeps the released names, which are those of timm's ResNet; inside a layer every part is named after what it
does. A layer is recognised by its entries, so that whole models, single layers and other networks can be translated.
"""

from collections.abc import Mapping
from typing import TypeVar

from cotnet.models.official_detection_names import from_detection, is_detection, to_detection

T = TypeVar("T")

# official -> ours, by layer; the first row of each is the entry by which the layer is recognised.
COT_PARTS = {
    "key_embed.0.": "static_context.conv.",
    "key_embed.1.": "static_context.norm.",
    "embed.0.": "attention.reduce.conv.",
    "embed.1.": "attention.reduce.norm.",
    "embed.3.": "attention.expand.",
    "embed.4.": "attention.norm.",
    "conv1x1.0.": "value.conv.",
    "conv1x1.1.": "value.norm.",
    "bn.": "dynamic_norm.",
    "se.0.": "fusion.reduce.",
    "se.1.": "fusion.norm.",
    "se.3.": "fusion.expand.",
}
SE_PARTS = {
    "bn0.": "local.norm.",
    "conv.": "local.conv.",
    "fc1.": "squeeze.",
    "bn1.": "squeeze_norm.",
    "fc2.": "excite.",
}


def from_official(entries: Mapping[str, T]) -> dict[str, T]:
    """Rename the entries of a released state dict, of a model or of one layer, to ours.

    Args:
        entries: Official name to tensor (or anything else), of a classifier, a layer, or a released detector, of which
            only the backbone is taken. Entries under our names are returned unchanged.

    Returns:
        The same values in the same order under our names.
    """
    if is_detection(entries):
        entries = from_detection(entries)
    return _rename(entries, COT_PARTS, SE_PARTS, slot=("conv2.", "mixer."))


def to_official(entries: Mapping[str, T], *, detection: bool = False) -> dict[str, T]:
    """Rename the entries of one of our state dicts to the released names: the inverse of ``from_official``.

    Args:
        entries: Our name to tensor (or anything else).
        detection: Use the names of a released detector's backbone and leave the classifier out.
    """
    inverse = [{ours: official for official, ours in parts.items()} for parts in (COT_PARTS, SE_PARTS)]
    official = _rename(entries, *inverse, slot=("mixer.", "conv2."))
    return to_detection(official) if detection else official


def _rename(entries: Mapping[str, T], *tables: Mapping[str, str], slot: tuple[str, str]) -> dict[str, T]:
    parts_at = {
        name.removesuffix(mark + "weight"): parts
        for parts in tables
        for mark in (next(iter(parts)),)
        for name in entries
        if name == mark + "weight" or name.endswith("." + mark + "weight")
    }
    return {_renamed(name, parts_at, slot): value for name, value in entries.items()}


def _renamed(name: str, parts_at: Mapping[str, Mapping[str, str]], slot: tuple[str, str]) -> str:
    # The longest prefix that is a layer's; names have few dots, so long state dicts stay cheap.
    for end in [i + 1 for i in range(len(name) - 1, -1, -1) if name[i] == "."] + [0]:
        prefix, rest = name[:end], name[end:]
        for old, new in parts_at.get(prefix, {}).items():
            if rest.startswith(old):
                if prefix.endswith("." + slot[0]):
                    prefix = prefix.removesuffix(slot[0]) + slot[1]
                return prefix + new + rest.removeprefix(old)
    return name
