"""Small runs of the programs in benchmarks/: what they measure there, without the timings."""

from pathlib import Path

import pytest

from benchmarks import backlog as backlog_program
from benchmarks import hung_service as hung_program
from benchmarks.backlog import backlog
from benchmarks.hung_service import CONNECTIONS, hung_service
from benchmarks.large_attachment import large_attachment
from tests.journeys.installation import installation


async def test_a_service_whose_server_hangs_holds_up_nobody_elses_mail(tmp_path: Path, database_url: str) -> None:
    findings = await hung_service(installation(tmp_path, database_url), mails=30, hung=50)
    assert len(findings.baseline) == len(findings.beside) == 30
    assert findings.unsettled == 50, "all mail of the healthy service arrived before any of the other was given up"
    assert findings.hanging == CONNECTIONS, "no circuit opened, and no attempt ended: the queue really hung"


@pytest.mark.parametrize(("beside", "broken"), [(2.0, 0), (2.1, 1)])
def test_a_ratio_above_the_bound_is_a_broken_promise(beside: float, broken: int) -> None:
    findings = hung_program.Findings([1.0], [beside], unsettled=50, hanging=CONNECTIONS)
    assert len(list(findings.broken(2))) == broken


def test_a_service_that_did_not_hang_proves_nothing() -> None:
    findings = hung_program.Findings([1.0], [1.0], unsettled=50, hanging=0)
    assert list(findings.broken(2)) == [f"0 attempts of the hung service were hanging, not {CONNECTIONS}"]


@pytest.mark.parametrize("deferred", [False, True], ids=["due", "deferred"])
async def test_a_start_with_a_long_queue_is_ready_and_delivers(
    tmp_path: Path, database_url: str, deferred: bool
) -> None:
    findings = await backlog(installation(tmp_path, database_url), mails=2000, deferred=deferred)
    assert findings.rows == 2000
    assert findings.ready > 0
    assert 0 < findings.first_delivery <= findings.all_deliveries


@pytest.mark.parametrize(
    ("ready", "first_delivery", "broken"), [(10.0, 15.0, 0), (10.1, 15.0, 1), (10.0, 15.1, 1), (10.1, 15.1, 2)]
)
def test_a_start_beyond_the_bounds_is_a_broken_promise(ready: float, first_delivery: float, broken: int) -> None:
    findings = backlog_program.Findings(ready, first_delivery, 20, first_delivery, 2000)
    assert len(list(findings.broken(ready_within=10, first_within=15))) == broken


async def test_large_attachments_arrive_as_they_were_through_both_doors(tmp_path: Path, sqlite_url: str) -> None:
    findings = await large_attachment(installation(tmp_path, sqlite_url), mails=2, small=4, size=2 * 1024 * 1024)
    assert findings.broken == []
    assert min(map(len, (findings.idle, findings.small, findings.large))) > 0
