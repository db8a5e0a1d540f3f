"""The networks that CoTNet is compared with, and their published results, which `peers.yaml` lists."""

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import yaml


@dataclass(frozen=True)
class Peer:
    """A published result.

    Attributes:
        setup: ``"default"`` (about 100 epochs, one recipe for all) or ``"advanced"`` (the network's own recipe).
        family: Family of networks, a line in the figure.
        name: Name of the network here.
        size: Side of the images in pixels.
        top1: ImageNet-1k accuracy in percent.
        source: Where that is published.
        timm: Name in timm, ``None`` if timm has no such network.
        kwargs: Arguments of ``timm.create_model``.
        ms: Milliseconds per image on the GPU of CoTNet's authors, or ``None``.
    """

    setup: str
    family: str
    name: str
    size: int
    top1: float
    source: str
    timm: str | None
    kwargs: dict[str, Any] = field(default_factory=dict)
    ms: float | None = None


def _read() -> list[Peer]:
    plain = yaml.safe_load(Path(__file__).with_name("peers.yaml").read_text())
    sources = plain.pop("sources")
    return [
        Peer(**{"setup": setup, "timm": entry["name"], **entry, "source": sources[entry["source"]]})
        for setup, entries in plain.items()
        for entry in entries
    ]


PUBLISHED = _read()
# By name. A network of both set-ups is the same one, perhaps at another size.
PEERS = {peer.name: peer for peer in PUBLISHED}


def measurable_peers() -> list[str]:
    """The names of those networks that timm has, the family included, small ones first."""
    return list(dict.fromkeys(peer.name for peer in PUBLISHED if peer.timm))


def find_models(words: Sequence[str]) -> list[str]:
    """The names that words and patterns match, each once.

    Args:
        words: Names, or patterns with ``*`` and ``?``.

    Raises:
        ValueError: A word matches no name; the message has the nearest names.
    """
    known = [*dict.fromkeys([*measurable_peers(), *timm.list_models()])]
    matched: dict[str, None] = {}
    for word in words:
        names = fnmatch.filter(known, word) if any(sign in word for sign in "*?[") else [word] if word in known else []
        if not names:
            near = difflib.get_close_matches(word, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
            raise ValueError(f"unknown model {word!r}; {hint}")
        matched.update(dict.fromkeys(names))
    return list(matched)


def published_size(model: str) -> int:
    """Side in pixels of the images that a network is published for, else timm's default."""
    if model in PEERS:
        return PEERS[model].size
    cfg = timm.get_pretrained_cfg(model)
    return cfg.input_size[-1] if cfg is not None else 224
