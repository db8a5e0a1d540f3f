"""Blocks of calls in turn."""

import math

from cotnet.bench.timing import interleave


def test_blocks_come_in_turn():
    calls = []
    times = interleave({name: lambda n=name: calls.append(n) for name in "ab"}, blocks=3, block_ms=1, max_calls=2)
    blocks = "".join(calls[4:])  # after two calls of each to find out how long they are
    assert blocks == ("a" * 3 + "b" * 3) * 3  # one untimed, two timed
    assert all(t.quartiles_ms[0] <= t.median_ms <= t.quartiles_ms[1] for t in times.values())
    assert interleave({"a": lambda: None}, blocks=2, block_ms=math.inf, max_calls=2)  # as many calls as there may be
