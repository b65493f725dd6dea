"""Final results of many messages, written in one transaction.

A result is final where each recipient of the message has the server's verdict, sent or failed: then the message's new
state is known without reading, whether a client waits changes nothing, and nothing is to be tried again. What is
written is what `settle` writes.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import lru_cache

import orjson
from msgspec import Struct

from app.database.connection import dialect, in_transaction
from app.database.group_commit import running_unit
from app.database.key import new_key, new_key_texts
from app.database.values import kept_key_text, key_text, key_texts, moment_texts
from app.events.record import Told, told
from app.mail.reply import parts_of
from app.queue.attempts import via_parts
from app.queue.claim import Claim, check_lease
from app.queue.joint_commit import JointCommit
from app.queue.settle_at_once import SETTLED, write_at_once
from app.queue.settlement import Settlement, happening_of
from app.queue.states import RecipientState, message_state
from app.queue.together import Take, Together

_FINAL = (RecipientState.SENT, RecipientState.FAILED)


class FinalResults:
    """Writes them for one process: while one transaction is under way, the next one gathers, and waits for `chance`."""

    def __init__(self, shared: JointCommit | None = None, chance: Callable[[], Awaitable[None]] | None = None) -> None:
        self._shared = shared
        self._chance = chance
        self._together: Together[_Final] = Together(self._write_together)

    async def write(
        self, claim: Claim, settlements: Sequence[Settlement], started_at: datetime, moment: datetime
    ) -> bool:
        """Whether it is written; if not, `settle` is to write it alone: because it is not final, its lease is lost or
        its row locked, or what was to be written together with it came to nothing. Cancelled, it goes on to its end:
        CancelledError says that it is written, Unwritten that it is not."""
        if not _is_final(claim, settlements):
            return False
        final = _Final(claim, settlements, started_at, moment)
        try:
            await self._together.do(final, surely=True)
        except asyncio.CancelledError as cancelled:
            if final.is_written:
                raise
            raise Unwritten from cancelled
        except Exception:
            return False  # whose fault it was shows where each is alone
        return final.is_written

    async def _write_together(self, take: "Take[_Final]") -> None:
        if self._chance is not None:
            await self._chance()
        if self._shared is not None:
            self._shared.begin()
        finals: Sequence[_Final] = ()
        if dialect() == "postgres":
            await _write_at_once(take())
            return

        async def write() -> None:
            nonlocal finals
            finals = take()
            await _write(finals)

        try:
            await in_transaction(write, urgent=True)
        except _LeaseLost:
            finals = await in_transaction(lambda: _write_held(finals), urgent=True)
        for final in finals:
            final.is_written = True


class Unwritten(asyncio.CancelledError):
    """Who waited was cancelled, and the result is to be written yet."""


class _Final(Struct, eq=False):
    claim: Claim
    settlements: Sequence[Settlement]
    started_at: datetime
    moment: datetime
    is_written: bool = False

    @property
    def state(self) -> str:
        """The message's new state."""
        return _message_state(frozenset([settlement.state for settlement in self.settlements]))


@lru_cache
def _message_state(states: frozenset[RecipientState]) -> str:
    return message_state(states).value


def _is_final(claim: Claim, settlements: Sequence[Settlement]) -> bool:
    if len(settlements) != claim.recipient_count:
        return False
    for settlement in settlements:
        if settlement.reply is None or settlement.phase is not None or settlement.state not in _FINAL:
            return False
    return True


async def _write_at_once(finals: Sequence[_Final]) -> None:
    if not finals:
        return
    ends = [
        {
            "id": final.claim.message_id,
            "worker_id": final.claim.worker_id,
            "fence": final.claim.fence,
            "state": final.state,
            "settled_at": final.moment,
        }
        for final in finals
    ]
    moment = max([final.moment for final in finals])
    held = await write_at_once(ends, [row for final in finals for row in _result_rows(final, moment)])
    for final in finals:
        final.is_written = final.claim.message_id in held


def _result_rows(final: _Final, moment: datetime) -> list[dict[str, object]]:
    claim = final.claim
    service_id, service_name, fallback_reason = via_parts(claim.via)
    results: list[dict[str, object]] = []
    for settlement in final.settlements:
        code, enhanced, text = parts_of(settlement.reply)
        event = happening_of(claim.message_id, settlement)
        results.append(
            {
                "message_id": claim.message_id,
                "recipient_id": settlement.recipient_id,
                "worker_id": claim.worker_id,
                "attempt_id": new_key(),
                "event_id": new_key(),
                "service_id": service_id,
                "service_name": service_name,
                "fallback_reason": fallback_reason,
                "began": final.started_at,
                "ended": final.moment,
                "number": settlement.number,
                "outcome": _VALUES[settlement.state],
                "reply_code": code,
                "reply_enhanced": enhanced,
                "reply_text": text,
                "type": event.type.value,
                "data": orjson.dumps(event.data).decode(),
                "created_at": moment,
            }
        )
    return results


async def _write(finals: Sequence[_Final]) -> None:
    """On SQLite, inside a transaction. Raises _LeaseLost where one of their leases is not held any more."""
    if not finals:
        return
    ends: list[tuple[object, ...]] = []
    recipients: list[tuple[object, ...]] = []
    attempts: list[tuple[object, ...]] = []
    rerouted: list[tuple[object, ...]] = []
    events: list[Told] = []
    count = sum([len(final.settlements) for final in finals])
    new_keys = new_key_texts(2 * count)
    keys = iter(new_keys)
    messages = key_texts([final.claim.message_id for final in finals])
    begins = moment_texts([final.started_at for final in finals])
    moments = moment_texts([final.moment for final in finals])
    for final, message, began, ended in zip(finals, messages, begins, moments, strict=True):
        claim, via = final.claim, final.claim.via
        worker = kept_key_text(claim.worker_id)
        ends.append((message, worker, claim.fence, final.state, ended))
        for s in final.settlements:
            recipient, state, reply = key_text(s.recipient_id), _VALUES[s.state], parts_of(s.reply)
            recipients.append((recipient, state, *reply, ended, began))
            attempt = (next(keys), message, recipient, worker, began, ended, s.number, state, *reply)
            if via is None:
                attempts.append(attempt)
            else:
                rerouted.append(attempt + via_parts(via))
            events.append((message, recipient, state, _document(s.number, reply[0])))
    unit = running_unit()
    if await unit.run_many(_END, ends) != len(finals):
        raise _LeaseLost
    await unit.run_many(_RECIPIENT, recipients)
    await unit.run_many(_ATTEMPT, attempts)
    if rerouted:
        await unit.run_many(_REROUTED, rerouted)
    into, rows_of_events = told(events, max([final.moment for final in finals]), new_keys[count:])
    await unit.run_many(into.each, rows_of_events)


class _LeaseLost(Exception):
    """Undoes what was written together."""


async def _write_held(finals: Sequence[_Final]) -> list[_Final]:
    """Write those whose lease is held; which they are."""
    held = [final for final in finals if await check_lease(final.claim)]
    await _write(held)
    return held


@lru_cache(maxsize=1000)
def _document(number: int, code: int | None) -> str:
    """As `happening_of` has it of a final result."""
    return json.dumps({"attempt": number, "code": code})


_VALUES = {state: state.value for state in RecipientState}

_END = (
    f"UPDATE message SET state = $4, settled_at = $5, {SETTLED}"  # noqa: S608 - constants
    " WHERE id = $1 AND lease_owner = $2 AND fence = $3"
)
_RECIPIENT = (
    "UPDATE recipient SET state = $2, due_at = NULL, reply_code = $3, reply_enhanced = $4, reply_text = $5,"
    " detail = NULL, settled_at = $6, tried_since = COALESCE(tried_since, $7) WHERE id = $1"
)
_ATTEMPTED = (
    "id, message_id, recipient_id, worker_id, started_at, finished_at, number, outcome, reply_code, reply_enhanced,"
    " reply_text"
)
_ATTEMPT = f"INSERT INTO attempt ({_ATTEMPTED}, in_doubt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, FALSE)"  # noqa: S608
_REROUTED = (
    f"INSERT INTO attempt ({_ATTEMPTED}, service_id, service_name, fallback_reason, in_doubt)"  # noqa: S608
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, FALSE)"
)
