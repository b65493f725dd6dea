"""schemathesis, run as its users run it: another process, against a real server on loopback.

What it makes of a schema depends on the seed alone, so that a failure can be had again.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A run that found nothing: which operations it asked for, and how often each status was answered."""

    operations: frozenset[str]
    statuses: Counter[int]


async def fuzz(
    url: str, folder: Path, key: str | None, *options: str, settings: str = "", hooks: str | None = None
) -> Fuzzed:
    """Run schemathesis on the schema at `url` with these options and settings (TOML), in `folder`. Fails with its
    report if it finds anything."""
    report, configuration = folder / "report.ndjson", folder / "schemathesis.toml"
    configuration.write_text(settings)
    header = ("--header", f"X-API-Key: {key}") if key else ()
    fixed = ("--report", "ndjson", "--report-ndjson-path", str(report), "--generation-database", "none", "--no-color")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", url, *header, *fixed, *options),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | ({"SCHEMATHESIS_HOOKS": hooks} if hooks else {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return _read(report)


def _read(report: Path) -> Fuzzed:
    recorders = list(_recorders(report))
    statuses = Counter(
        interaction["response"]["status_code"]
        for recorder in recorders
        for interaction in recorder["interactions"].values()
    )
    return Fuzzed(frozenset(recorder["label"] for recorder in recorders), statuses)


def _recorders(report: Path) -> Iterator[dict[str, Any]]:
    for line in report.read_text().splitlines():
        event = json.loads(line)
        if "ScenarioFinished" in event:
            yield event["ScenarioFinished"]["recorder"]
