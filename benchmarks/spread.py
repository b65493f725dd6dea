"""Medians, spreads, and ratios that are taken round by round."""

from collections.abc import Sequence
from statistics import median

__all__ = ["median", "percentile", "ratios", "spread"]


def spread(samples: Sequence[float]) -> float:
    """How far apart they are: (max - min) / median; 0 for none, and where the median is 0."""
    middle = median(samples) if samples else 0
    return (max(samples) - min(samples)) / middle if middle else 0.0


def ratios(samples: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each sample over that of the base in the same round, so that what slows a whole round down changes nothing."""
    return [sample / other for sample, other in zip(samples, base, strict=True)]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent of all are not above."""
    ascending = sorted(samples)
    place = -(-len(ascending) * percent // 100) - 1
    return ascending[max(0, min(int(place), len(ascending) - 1))]
