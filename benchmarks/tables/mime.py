"""Building MIME: ours beside the standard library's EmailMessage."""

from functools import partial

from benchmarks.result import Bound, Metric, Table
from benchmarks.run import Bench, Case, rounds_of
from benchmarks.tables.built import built

METRICS = (
    Metric("x_stock", "x EmailMessage", 3, lower=True),
    Metric("us", "CPU us/mail", 1, lower=True),
    Metric("peak", "peak memory MiB", 1, lower=True),
)
MAILS = ("text 1 KB", "text and html 5 KB", "attachment 25 MiB")


async def measure(bench: Bench) -> Table:
    """The table."""
    cases = []
    for mail in MAILS:
        bounds = {"x_stock": Bound(0.1, 0.03)} if mail == "text and html 5 KB" else {}
        cases.append(Case(f"Heliograph, {mail}", partial(built, bench, f"ours {mail}"), bounds, ours=True))
        cases.append(Case(f"EmailMessage, {mail}", partial(built, bench, f"stock {mail}")))
    rows = await rounds_of(bench, "mime", cases)
    for ours, stock in zip(rows[::2], rows[1::2], strict=True):
        for row in (ours, stock):
            row.compare("us", stock, "us", "x_stock")
    return Table("mime", "Building MIME, over the standard library's EmailMessage", METRICS, "x_stock", rows)
