"""Ranges of activations from calibration images."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

_BINS = 4096
_SAMPLES = 2**19  # of a batch, evenly spread
_PERCENTILE = 0.9999  # of the values, taken off at both ends alike
_CANDIDATES = 80
_NARROWEST = 0.2  # of the whole range, the smallest that is tried


class Observer:
    """The distribution of one value, seen twice: first its extremes, then, within them, a histogram.

    Attributes:
        low: The least value seen.
        high: The largest one.
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self._sums: Tensor | None = None
        self._pixels = 0
        self._counts = torch.zeros(_BINS, dtype=torch.float64)

    def see_extremes(self, x: Tensor) -> None:
        """Take in the extremes of some values, and the mean of each channel."""
        low, high = torch.aminmax(x)
        # Written so that NaN stays.
        self.low = self.low if self.low <= float(low) else float(low)
        self.high = self.high if self.high >= float(high) else float(high)
        sums = x.sum([dim for dim in range(x.ndim) if dim != 1], dtype=torch.float64)
        self._sums = sums if self._sums is None else self._sums + sums
        self._pixels += x.numel() // x.shape[1]

    def see_counts(self, x: Tensor) -> None:
        """Take in how values are distributed within the extremes."""
        if self.high > self.low:
            step = max(1, x.numel() // _SAMPLES)
            while math.gcd(step, x[0].numel()) > 1:  # or some channels or columns would never be seen
                step += 1
            some = x.flatten()[::step] if x.is_contiguous() else x.permute(0, 2, 3, 1).flatten()[::step]
            self._counts += torch.histc(some.float(), _BINS, self.low, self.high).double()

    @property
    def means(self) -> Tensor:
        """The mean of each channel, float64 [C]."""
        assert self._sums is not None
        return self._sums / self._pixels

    def range(self, method: Method) -> tuple[float, float]:
        """From where to where bytes should reach."""
        if method == "minmax" or self.high <= self.low:
            return self.low, self.high
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        edges = torch.linspace(self.low, self.high, _BINS + 1, dtype=torch.float64)
        if method == "percentile":
            share = self._counts.cumsum(0) / self._counts.sum()
            rest = 1 - _PERCENTILE
            first, last = int((share <= rest).sum()), int((share < _PERCENTILE).sum())
            # One end alone has a tail where 0 is the other.
            return float(edges[first]) if low < 0 else low, float(edges[min(last + 1, _BINS)])
        return self._least_squares(low, high, (edges[:-1] + edges[1:]) / 2)

    def _least_squares(self, low: float, high: float, middles: Tensor) -> tuple[float, float]:
        """The range, a part of the whole one, whose bytes come nearest to the values."""
        parts = torch.linspace(1, _NARROWEST, _CANDIDATES, dtype=torch.float64)[:, None]
        clipped = middles.clamp(low * parts, high * parts)
        # Rounding errors are uniform within a step, whatever the bins; 0, which ReLU makes much of, has none.
        rounding = ((high - low) * parts / 255).square() / 12
        not_zero = (middles.abs() > (high - low) / _BINS).double()
        errors = (self._counts * ((middles - clipped).square() + rounding * not_zero)).sum(1)
        best = float(parts[errors.argmin()])
        return low * best, high * best
