"""While mail is being accepted, deliveries give way to it: few are claimed at a time."""

import asyncio

from app.delivery.give_way import GiveWayPolicy, before_claiming
from app.delivery.unsettled import Unsettled
from app.queue.wakeup import Wakeup


async def test_a_worker_rests_and_claims_few_only_while_many_mails_are_being_accepted() -> None:
    wakeup, policy, unsettled = Wakeup(), GiveWayPolicy(being_accepted=3, claims=5, pause=0.001), Unsettled()
    wakeup.being_accepted = 2
    assert await before_claiming(wakeup, policy, unsettled) is None
    wakeup.being_accepted = 3
    giving_way = asyncio.create_task(before_claiming(wakeup, policy, unsettled))
    await asyncio.sleep(0)
    assert not giving_way.done()
    assert await giving_way == 5
