"""Ratios where they are due."""

import pytest

from cotnet.bench.candidates import Candidate
from cotnet.bench.measure import Measurement
from cotnet.bench.rows import best_modes, to_rows
from cotnet.bench.timing import Times


def test_ratios_are_to_the_baseline_of_the_same_run():
    def row(model, mode, ms, **options):
        return Measurement(Candidate(model, mode, "float32", 2, 32), Times(ms, (ms, ms)), 0.0, **options)

    rows = [
        row("base", "eager", 4.0),
        row("base", "compiled", 3.0),
        row("ours", "eager", 2.0),
        row("ours", "fused", 1.5),
        row("ours", "frozen", 1.0, reason="answers differ", wrong_answers=True),
    ]
    plain = to_rows(rows, [None] * 5, "base")
    assert [(p.get("ratio_same_mode"), p.get("ratio_best")) for p in plain] == [
        (1.0, 0.75), (1.0, 1.0), (2.0, 1.5), (None, 2.0), (None, None),
    ]  # fmt: skip
    assert plain[3]["images_per_s"] == pytest.approx(2 / 1.5e-3, rel=1e-3)
    assert best_modes(plain) == {("base", 32): 1.5, ("ours", 32): 0.75}
