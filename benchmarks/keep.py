"""The results of a run in a folder: results.json, a plot of each table, and the tables in the page beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import write_page
from benchmarks.plot import plot
from benchmarks.result import Table, as_json
from benchmarks.run import Bench

RESULTS = "results.json"
ORDER = (
    "accept",
    "instructions",
    "profile_accept_rest",
    "profile_accept_graphql",
    "latency",
    "end_to_end",
    "profile_deliver_rest",
    "profile_deliver_graphql",
    "round_trips",
    "mime",
    "dkim",
    "claim",
    "memory",
    "attachment",
    "cold_start",
    "subscribers",
)
"""Of all tables, on the page."""


def keep(out: Path, table: Table, bench: Bench, machine: Mapping[str, str]) -> None:
    """Put the table into the folder; tables of other names that are there stay."""
    out.mkdir(parents=True, exist_ok=True)
    by_name = {kept["name"]: kept for kept in _kept(out)} | {table.name: as_json(table)}
    tables = [by_name[name] for name in sorted(by_name, key=_place)]
    results = {"machine": machine, "rounds": bench.rounds, "seconds": bench.seconds, "tables": tables}
    (out / RESULTS).write_text(json.dumps(results, indent=1) + "\n")
    (out / f"{table.name}.svg").write_text(plot(table))
    write_page(out.with_suffix(".md"), results)


def _kept(out: Path) -> list[dict[str, Any]]:
    file = out / RESULTS
    tables: list[dict[str, Any]] = json.loads(file.read_text())["tables"] if file.exists() else []
    return tables


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
