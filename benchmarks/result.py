"""What a table of measurements holds, and how it is kept as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.spread import median, ratios, spread


@dataclass(frozen=True, slots=True)
class Metric:
    """A column. `key` names its samples; `lower` is better, or higher."""

    key: str
    heading: str
    digits: int = 0
    lower: bool = False

    def reaches(self, value: float, goal: float) -> bool:
        """Whether the value is as good as the goal."""
        return value <= goal if self.lower else value >= goal


@dataclass(frozen=True, slots=True)
class Bound:
    """What a metric of a row must reach, and what it aims at."""

    must: float | None
    aim: float | None = None


@dataclass(slots=True)
class Row:
    """One thing measured: a sample of each metric from each round."""

    name: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    ours: bool = False

    def median(self, key: str) -> float | None:
        """Of the rounds; None where the row has no such metric."""
        samples = self.samples.get(key)
        return median(samples) if samples else None

    def add(self, sample: Mapping[str, float]) -> None:
        """One more round."""
        for key, value in sample.items():
            self.samples.setdefault(key, []).append(value)

    def compare(self, key: str, other: "Row", base_key: str, into: str) -> None:
        """Make `into`: this row's `key` over the other's `base_key`, round by round; nothing where one has none."""
        mine, base = self.samples.get(key), other.samples.get(base_key)
        if mine and base and len(mine) == len(base):
            self.samples[into] = ratios(mine, base)


@dataclass(slots=True)
class Table:
    """Rows of one kind. `plotted` is the metric that the plot shows."""

    name: str
    title: str
    metrics: Sequence[Metric]
    plotted: str
    rows: list[Row]
    notes: Sequence[str] = ()

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def metric(self, key: str) -> Metric:
        """The metric of this key."""
        return next(metric for metric in self.metrics if metric.key == key)

    def short_of(self) -> Iterator[str]:
        """Every "must" that is not reached."""
        for row, metric, bound in self._bounds():
            value = row.median(metric.key)
            if value is not None and bound.must is not None and not metric.reaches(value, bound.must):
                reached = f"{value:.{max(metric.digits, 2)}f}"
                yield f"{self.name}: {row.name}: {metric.heading} is {reached}, and must be {bound.must:g}"

    def _bounds(self) -> Iterator[tuple[Row, Metric, Bound]]:
        for row in self.rows:
            for metric in self.metrics:
                if metric.key in row.bounds:
                    yield row, metric, row.bounds[metric.key]


def as_json(table: Table) -> dict[str, Any]:
    """The table with every sample, its medians and its spreads."""
    return {
        "name": table.name,
        "title": table.title,
        "plotted": table.plotted,
        "metrics": [{"key": m.key, "heading": m.heading, "digits": m.digits, "lower": m.lower} for m in table.metrics],
        "rows": [_row_as_json(row) for row in table.rows],
        "notes": list(table.notes),
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "ours": row.ours,
        "samples": row.samples,
        "median": {key: row.median(key) for key in row.samples},
        "spread": {key: spread(samples) for key, samples in row.samples.items()},
        "bounds": {key: {"must": bound.must, "aim": bound.aim} for key, bound in row.bounds.items()},
    }


def from_json(kept: Mapping[str, Any]) -> Table:
    """The table that `as_json` made this of."""
    rows = [
        Row(
            row["name"],
            {key: list(samples) for key, samples in row["samples"].items()},
            {key: Bound(**bound) for key, bound in row["bounds"].items()},
            row["ours"],
        )
        for row in kept["rows"]
    ]
    metrics = [Metric(**metric) for metric in kept["metrics"]]
    return Table(kept["name"], kept["title"], metrics, kept["plotted"], rows, kept["notes"])
