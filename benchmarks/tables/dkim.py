"""DKIM signatures: ours beside dkimpy."""

from functools import partial

from benchmarks.result import Metric, Table
from benchmarks.run import Bench, Case, rounds_of
from benchmarks.tables.built import built

METRICS = (
    Metric("x_dkimpy", "x dkimpy", 3, lower=True),
    Metric("us", "CPU us/mail", 0, lower=True),
    Metric("peak", "peak memory MiB", 1, lower=True),
)
MAILS = {"rsa 5 KB": "RSA-2048, 5 KB", "ed25519 5 KB": "Ed25519, 5 KB", "rsa 10 MiB": "RSA-2048, 10 MiB"}


async def measure(bench: Bench) -> Table:
    """The table."""
    cases = []
    for key, name in MAILS.items():
        cases.append(Case(f"Heliograph, {name}", partial(built, bench, f"ours {key}"), ours=True))
        cases.append(Case(f"dkimpy, {name}", partial(built, bench, f"dkimpy {key}")))
    rows = await rounds_of(bench, "dkim", cases)
    for ours, other in zip(rows[::2], rows[1::2], strict=True):
        for row in (ours, other):
            row.compare("us", other, "us", "x_dkimpy")
    return Table("dkim", "A DKIM signature, over dkimpy", METRICS, "x_dkimpy", rows)
