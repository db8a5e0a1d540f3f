"""Times of several candidates, measured in turn."""

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
        median_ms: the median.
        quartiles_ms: lower and upper quartile.
    """

    median_ms: float
    quartiles_ms: tuple[float, float]


def interleave(
    candidates: Mapping[Name, Callable[[], Any]],
    *,
    blocks: int,
    block_ms: float,
    most_calls: int = 50,
    warm_up: int = 1,
) -> dict[Name, Times]:
    """Time candidates in short blocks of calls, the blocks of all of them in turn.

    A drift of the machine meets all alike. A block's time is the mean over its calls. Before a block the candidate runs
    untimed, so that it finds the caches as it leaves them itself; a call that fills a block alone brings its own.

    Args:
        candidates: what to call, by name.
        blocks: of each candidate, at least 2.
        block_ms: about how long a block should be; at least one call.
        most_calls: in a block.
        warm_up: untimed calls before a block, at most one less than the block has.
    """
    calls: dict[Name, int] = {}
    for name, run in candidates.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, int(min(most_calls, block_ms / 1e3 / (time.perf_counter() - start))))
    times: dict[Name, list[float]] = {name: [] for name in candidates}
    for _ in range(blocks):
        for name, run in candidates.items():
            for _ in range(min(warm_up, calls[name] - 1)):
                run()
            start = time.perf_counter()
            for _ in range(calls[name]):
                run()
            times[name].append((time.perf_counter() - start) / calls[name] * 1e3)
    found = {}
    for name, values in times.items():
        low, median, high = (round(x, 4) for x in statistics.quantiles(values, n=4, method="inclusive"))
        found[name] = Times(median, (low, high))
    return found
