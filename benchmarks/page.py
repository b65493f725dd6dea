"""The results as Markdown, between the markers of docs/performance.md."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result import Bound, Metric, Row, Table, from_json
from benchmarks.spread import spread

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)


def write_page(file: Path, results: Mapping[str, Any]) -> None:
    """Put the results between the markers of this page, if there is such a page with markers."""
    if not file.exists() or not _BETWEEN.search(text := file.read_text()):
        return
    tables = [from_json(table) for table in results["tables"]]
    parts = [BEGIN, "", machine_lines(results), "", page_tables(tables, plots=file.stem), "", END]
    file.write_text(_BETWEEN.sub(lambda _: "\n".join(parts), text))


def machine_lines(results: Mapping[str, Any]) -> str:
    """What the machine is, and how often was measured."""
    rows = [f"| {name} | {told} |" for name, told in results["machine"].items()]
    rounds = f"Medians of {results['rounds']} rounds, {results['seconds']:g} s of load each."
    return "\n".join([rounds, "", "| machine | |", "|---|---|", *rows])


def page_tables(tables: Sequence[Table], plots: str | None = None) -> str:
    """Every table as Markdown; with its plot from the folder `plots`, if one is given."""
    return "\n\n".join("\n".join(_lines(table, plots)) for table in tables)


def _lines(table: Table, plots: str | None) -> Iterator[str]:
    yield from (f"### {table.title}", "")
    if plots is not None:
        yield from (f"![{table.title}]({plots}/{table.name}.svg)", "")
    metrics = [metric for metric in table.metrics if any(metric.key in row.samples for row in table.rows)]
    has_goals = any(row.bounds for row in table.rows)
    headings = ["", *(metric.heading for metric in metrics), *(["goal: must / aim"] if has_goals else [])]
    yield f"| {' | '.join(headings)} |"
    yield "|---|" + "---:|" * (len(headings) - 1)
    for row in table.rows:
        cells = [f"**{row.name}**" if row.ours else row.name, *(_cell(row, metric) for metric in metrics)]
        yield f"| {' | '.join([*cells, *([_goals(row, metrics)] if has_goals else [])])} |"
    for note in table.notes:
        yield from ("", note)


def _cell(row: Row, metric: Metric) -> str:
    value = row.median(metric.key)
    if value is None:
        return "-"
    samples = row.samples[metric.key]
    apart = f" ({spread(samples):.0%})" if len(samples) > 1 else ""
    return f"{value:,.{metric.digits}f}{apart}"


def _goals(row: Row, metrics: Sequence[Metric]) -> str:
    told = []
    for metric in metrics:
        bound, value = row.bounds.get(metric.key), row.median(metric.key)
        if bound is not None and value is not None:
            goals = " / ".join("-" if goal is None else f"{goal:g}" for goal in (bound.must, bound.aim))
            told.append(f"{metric.heading}: {goals}, {_verdict(metric, value, bound)}")
    return "; ".join(told)


def _verdict(metric: Metric, value: float, bound: Bound) -> str:
    if bound.aim is not None and metric.reaches(value, bound.aim):
        return "aim reached"
    if bound.must is None:
        return "**aim not reached**"
    return "reached" if metric.reaches(value, bound.must) else "**not reached**"
