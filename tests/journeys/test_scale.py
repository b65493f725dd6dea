"""Small runs of the programs in benchmarks/: what they measure there, without the timings."""

from pathlib import Path

import pytest

from benchmarks.backlog import backlog
from benchmarks.hung_service import hung_service
from tests.journeys.installation import installation


async def test_a_service_whose_server_hangs_holds_up_nobody_elses_mail(tmp_path: Path, database_url: str) -> None:
    findings = await hung_service(installation(tmp_path, database_url), mails=30, hung=50)
    assert len(findings.baseline) == len(findings.beside) == 30
    assert findings.unsettled == 50, "all mail of the healthy service arrived before any of the other was given up"


@pytest.mark.parametrize("deferred", [False, True], ids=["due", "deferred"])
async def test_a_start_with_a_long_queue_is_ready_and_delivers(
    tmp_path: Path, database_url: str, deferred: bool
) -> None:
    findings = await backlog(installation(tmp_path, database_url), mails=2000, deferred=deferred)
    assert findings.rows == 2000
    assert findings.ready > 0
    assert 0 < findings.first_delivery <= findings.all_deliveries
