"""The networks that CoTNet is compared with, and what is published of them; `peers.yaml` has the facts."""

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
        setup: `"default"` (about 100 epochs, all alike) or `"advanced"` (the network's own recipe).
        family: its kind, for a line in the figure.
        name: what it is called here.
        size: side of the images in pixels.
        top1: ImageNet-1k accuracy in percent.
        source: where that is published.
        timm: its name in timm, `None` where timm has no such network.
        kwargs: of `timm.create_model`.
        ms: milliseconds for an image on the GPU of CoTNet's authors, or `None`.
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
# By name; where both set-ups have a network, it is the same one, perhaps at another size.
PEERS = {peer.name: peer for peer in PUBLISHED}


def measurable_peers() -> list[str]:
    """The names of the family and its peers, small ones first, those that timm has."""
    return list(dict.fromkeys(peer.name for peer in PUBLISHED if peer.timm))


def find_models(words: Sequence[str]) -> list[str]:
    """The names that words and patterns with `*` and `?` stand for, each once.

    Raises:
        ValueError: a word names nothing; the message has the nearest names.
    """
    known = [*dict.fromkeys([*measurable_peers(), *timm.list_models()])]
    found: dict[str, None] = {}
    for word in words:
        names = fnmatch.filter(known, word) if any(sign in word for sign in "*?[") else [word] if word in known else []
        if not names:
            near = difflib.get_close_matches(word, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
            raise ValueError(f"unknown model {word!r}; {hint}")
        found.update(dict.fromkeys(names))
    return list(found)


def own_size(model: str) -> int:
    """Side of the images that a network is published for, else of timm's default, in pixels."""
    if model in PEERS:
        return PEERS[model].size
    cfg = timm.get_pretrained_cfg(model)
    return cfg.input_size[-1] if cfg is not None else 224
