"""Timing several candidates in turn."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Times:
    """Milliseconds for one call: median and quartiles over blocks.

    Attributes:
        median_ms: Median.
        quartiles_ms: Lower and upper quartile.
    """

    median_ms: float
    quartiles_ms: tuple[float, float]


def interleave(
    candidates: Mapping[Name, Callable[[], Any]],
    *,
    blocks: int,
    block_ms: float,
    max_calls: int = 50,
    warm_up: int = 1,
) -> dict[Name, Times]:
    """Time candidates in short blocks of calls, the blocks of all of them in turn.

    So a drift of the machine affects all candidates alike. A block's time is the mean over its calls. Before a block
    its candidate runs untimed, so that the caches hold what the candidate itself leaves in them; a call that fills a
    whole block needs no such warm-up.

    Args:
        candidates: What to call, by name.
        blocks: Blocks of each candidate, at least 2.
        block_ms: Approximate length of a block in milliseconds; a block has at least one call.
        max_calls: Most calls in a block.
        warm_up: Untimed calls before a block, at most one fewer than the block has.

    Returns:
        The times of a call, by name.
    """
    calls: dict[Name, int] = {}
    for name, run in candidates.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, int(min(max_calls, block_ms / 1e3 / (time.perf_counter() - start))))
    times: dict[Name, list[float]] = {name: [] for name in candidates}
    for _ in range(blocks):
        for name, run in candidates.items():
            for _ in range(min(warm_up, calls[name] - 1)):
                run()
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            times[name].append((time.perf_counter() - start) / calls[name] * 1e3)
    result = {}
    for name, values in times.items():
        low, median, high = (round(x, 4) for x in statistics.quantiles(values, n=4, method="inclusive"))
        result[name] = Times(median, (low, high))
    return result
