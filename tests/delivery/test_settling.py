"""A result that is written together with others, or else alone."""

import asyncio

import pytest

from app.clock import now
from app.database.connection import dialect
from app.database.key import new_key
from app.delivery.backoff import RetryPolicy
from app.delivery.settling import Settling
from app.mail.reply import Reply
from app.queue import settle_together
from app.queue.claim import claim_message
from app.queue.settle_together import FinalResults
from app.queue.wakeup import Wakeup
from app.services.circuit import CircuitPolicy
from app.smtp.transaction import TransactionResult
from tests.delivery.conftest import Put
from tests.factories import count, recipient_states


@pytest.mark.parametrize("fails", [False, True])
async def test_a_final_result_is_written_though_who_waits_is_cancelled(
    put_mail: Put, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    claim = await claim_message(new_key(), await put_mail(), now(), 60)
    assert claim is not None
    if fails:

        async def broken(*_: object) -> None:
            raise OSError("broken")

        monkeypatch.setattr(settle_together, "_write" if dialect() == "sqlite" else "_write_at_once", broken)
    settling = Settling(RetryPolicy((30,), 0.2, 3600), CircuitPolicy(), FinalResults(), Wakeup(), pause=0)
    taken = TransactionResult({claim.recipients[0].address: Reply(250, "taken")}, None)
    writing = asyncio.create_task(settling.settle(claim, taken, now(), last=True))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await recipient_states(claim.message_id) == ["sent"]
    assert await count("attempt") == 1
