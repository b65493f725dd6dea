"""A loop's clock that does not count how fast the machine is.

A limit of a tenth of a second is meant for a peer that says nothing. On a busy machine it can be over while both peers,
which are in this process, still have something to say.
"""

import asyncio
from typing import Any

import pytest


@pytest.fixture
async def idle_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """During the test, time passes for the loop only while there is nothing that it could do."""
    loop: Any = asyncio.get_running_loop()
    wait, moment = loop._selector.select, loop.time()

    def wait_and_count(seconds: float | None) -> list[Any]:
        nonlocal moment
        events: list[Any] = wait(seconds)
        if seconds and not events:
            moment += seconds
        return events

    monkeypatch.setattr(loop, "time", lambda: moment)
    monkeypatch.setattr(loop._selector, "select", wait_and_count)
