"""Two API and several worker processes on one PostgreSQL: each mail is accepted once, and arrives once."""

import asyncio
from pathlib import Path

from app.database.connection import rows
from app.inbox.receiver import Receiver, Stage
from tests.journeys.fleet import launched, send_all, settled
from tests.journeys.installation import installation, opened
from tests.journeys.ledger import Ledger
from tests.journeys.scale_out import scale_out

MAILS = 200
CAP, UNSETTLED = 5, 2


async def test_each_mail_is_accepted_once_claimed_once_and_arrives_once(tmp_path: Path, postgres_url: str) -> None:
    findings = await scale_out(installation(tmp_path, postgres_url), mails=MAILS, apis=2, workers=4)
    assert list(findings.broken()) == []
    assert findings.mails >= MAILS
    assert len(findings.sent_by) == 4


async def test_a_worker_killed_mid_way_loses_no_mail(tmp_path: Path, postgres_url: str) -> None:
    installed = installation(tmp_path, postgres_url, smtp_max_connections=CAP, smtp_unsettled=UNSETTLED)
    ledger, numbers = Ledger(), asyncio.Queue[int | None]()
    for number in [*range(MAILS), None]:
        numbers.put_nowait(number)
    async with (
        Receiver(on_mail=ledger.take) as receiver,
        launched(installed, apis=2, workers=3, alone=False) as fleet,
    ):
        await (await fleet.doors()).graphql.create_service("relay", port=receiver.port)
        sending = asyncio.create_task(send_all(fleet, numbers))
        await ledger.wait_for(MAILS // 4)
        await fleet.workers[0].kill(1)
        sent = await sending
        async with opened(installed):
            await settled()
            assert await rows("SELECT state, COUNT(*) AS mails FROM message GROUP BY state") == [
                {"state": "sent", "mails": MAILS}
            ]
    assert ledger.copies.keys() == sent.keys()
    copies = sum(len(copies) for copies in ledger.copies.values())
    assert copies <= MAILS + CAP * UNSETTLED, "only what the killed worker had sent and not settled may arrive twice"


async def test_who_waits_at_the_api_learns_the_verdict_from_the_worker(tmp_path: Path, postgres_url: str) -> None:
    installed = installation(tmp_path, postgres_url)
    async with Receiver() as receiver, launched(installed, apis=2, workers=1, alone=False) as fleet:
        receiver.script.on(Stage.RCPT, "550 5.1.1 No such user")
        await (await fleet.doors()).graphql.create_service("relay", port=receiver.port)
        mail = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
        refused = await (await fleet.doors()).rest.send("relay", mail)
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, 550)
