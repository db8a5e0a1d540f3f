"""Variants of a body: other mixers in chosen stages, another window, width or depth, another stride of the stem."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cotnet.layers.mixers import get_mixer
from cotnet.models.spec import Body

Mixers = str | Mapping[str, str | Sequence[str]]

FIRST_STAGE = 2  # the paper counts the stem as res1


def vary(
    body: Body,
    *,
    mixers: Mixers | None = None,
    kernel_size: int | None = None,
    base_width: int | None = None,
    stem_stride: int | None = None,
    planes: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
) -> Body:
    """The body with the given values changed; None leaves a value as it is.

    Args:
        body: The body to start from.
        mixers: Mixers by stage, the first stage being ``res2``: ``{"res5": "local_attention"}``,
            ``{"res2-4": "conv"}``, or ``{"res4": ["cot", "se_conv"]}`` for several in turn; or one name for every
            stage; or the same as text: ``"res5=local_attention"``, ``"res2-4=conv,res5=mhsa"``,
            ``"res4=cot+se_conv"``, ``"conv"``.
        kernel_size: Odd window of every mixer.
        base_width: Inner width of the bottlenecks, in 64ths of a stage's planes.
        stem_stride: Stride of the first convolution; 2 in a body made for small images saves three quarters of the
            work.
        planes: The planes of every stage.
        depths: The number of blocks of every stage.

    Raises:
        ValueError: An unknown mixer or stage, or a stage named twice; the message lists what there is. A number out of
            range.
    """
    fields: dict[str, Any] = {}
    stages = body.stages
    if mixers is not None:
        new_mixers = dict(_by_stage(mixers, len(stages)))
        stages = tuple(
            replace(stage, mixers=new_mixers.get(number, stage.mixers)) for number, stage in enumerate(stages)
        )
    for field, name, values in (("planes", "planes", planes), ("depth", "depths", depths)):
        if values is None:
            continue
        if len(values) != len(stages) or min(values) < 1:
            raise ValueError(f"expected {len(stages)} {name} of at least 1, one for each stage, got {name}={values}")
        changes: list[dict[str, Any]] = [{field: value} for value in values]
        stages = tuple(replace(stage, **change) for stage, change in zip(stages, changes, strict=True))
    fields["stages"] = stages
    if kernel_size is not None:
        fields["kernel_size"] = kernel_size
    if base_width is not None:
        if body.block != "bottleneck":
            raise ValueError(f"base_width is the width of a bottleneck; this body has {body.block} blocks")
        if base_width < 1:
            raise ValueError(f"expected a base_width of at least 1, got {base_width=}")
        fields["base_width"] = base_width
    if stem_stride is not None:
        if stem_stride not in (1, 2):
            raise ValueError(f"expected a stem_stride of 1 or 2, got {stem_stride=}")
        fields["stem"] = replace(body.stem, stride=stem_stride)
    return replace(body, **fields)


def _by_stage(mixers: Mixers, count: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Index and mixer names of each stage that ``mixers`` names."""
    seen: set[int] = set()
    for stages, names in _entries(mixers, count):
        split = names.split("+") if isinstance(names, str) else names
        if not isinstance(split, Sequence) or not split:
            raise ValueError(f"expected at least one mixer for {stages}, got {names!r}")
        for name in split:
            get_mixer(name)
        for stage in _stages(stages, count):
            if stage in seen:
                raise ValueError(f"res{stage + FIRST_STAGE} is given two mixers; name each stage once in {mixers!r}")
            seen.add(stage)
            yield stage, tuple(split)


def _entries(mixers: Mixers, count: int) -> list[tuple[str, str | Sequence[str]]]:
    if isinstance(mixers, Mapping):
        return list(mixers.items())
    if not isinstance(mixers, str):
        raise ValueError(f"expected mixers by stage such as {{'res5': 'cot'}}, or as text, got {mixers!r}")
    if "=" not in mixers:
        return [(f"res{FIRST_STAGE}-{FIRST_STAGE + count - 1}", mixers.strip())]
    entries: list[tuple[str, str | Sequence[str]]] = []
    for part in mixers.split(","):
        stages, equals, names = (piece.strip() for piece in part.partition("="))
        if not (stages and equals and names):
            raise ValueError(f"expected STAGE=MIXER, e.g. res5=cot or res2-4=conv, got {part.strip()!r}")
        entries.append((stages, names))
    return entries


def _stages(text: str, count: int) -> range:
    """``res4`` or ``res2-4`` as indices from 0."""
    last = FIRST_STAGE + count - 1
    known = [f"res{number}" for number in range(FIRST_STAGE, last + 1)]
    text = str(text)
    match = re.fullmatch(r"res(\d+)(?:-(?:res)?(\d+))?", text)
    if match:
        begin, end = int(match[1]), int(match[2] or match[1])
        if FIRST_STAGE <= begin <= end <= last:
            return range(begin - FIRST_STAGE, end + 1 - FIRST_STAGE)
    near = difflib.get_close_matches(text, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ValueError(f"unknown stage {text!r}{hint} This body has {', '.join(known)}, and ranges such as res2-{last}")
