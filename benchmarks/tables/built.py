"""Cases of `benchmarks.building` as rows."""

from benchmarks.building import CASES
from benchmarks.process import ROOT, SERVER_CORE, python, running
from benchmarks.run import Bench, Sample


async def built(bench: Bench, case: str) -> Sample:
    """One case in a process of its own, on the server's core."""
    assert case in CASES
    environment = {"PYTHONPATH": f"{bench.checkout}:{ROOT}"}
    seconds = min(bench.seconds, 1.0) / 2
    async with running(python("benchmarks.building", case, seconds), SERVER_CORE, environment) as program:
        told: Sample = await program.ask()
    return told
