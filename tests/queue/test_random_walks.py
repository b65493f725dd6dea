"""Whatever workers do, in whatever order: nothing leaves the table of transitions, and a message is what its
recipients are."""

import math
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from hypothesis import HealthCheck, event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.access.principal import Principal
from app.database.connection import as_moment, rows
from app.errors import Refusal
from app.queue.claim import Claim, begin_dot, claim_message, release_claim, renew_lease
from app.queue.doubt import OnDoubt
from app.queue.expire import expire_overdue
from app.queue.intervene import Intervener, Intervention
from app.queue.schedule import Schedule
from app.queue.settle import Settlement, settle
from app.queue.states import CLAIMABLE, SETTLED, TRANSITIONS, RecipientState, message_state
from tests.factories import after, message_row, recipient_states
from tests.queue.conftest import Put

LEASE = 60.0
GRACE = 40.0
MAX_CRASHES = 3
OUTCOMES = (*[RecipientState.DEFERRED] * 5, RecipientState.SENT, RecipientState.FAILED, RecipientState.EXPIRED)
WORKERS = (UUID(int=1), UUID(int=2))

workers = st.sampled_from(WORKERS)
steps = st.one_of(
    st.tuples(st.just("claim"), workers),
    st.tuples(st.just("claim"), workers),
    st.tuples(st.just("renew"), workers),
    st.tuples(st.just("dot"), workers),
    st.tuples(st.just("release"), workers),
    st.tuples(st.just("settle"), workers, st.lists(st.sampled_from(OUTCOMES), min_size=3, max_size=3)),
    st.tuples(
        st.just("intervene"), st.sampled_from(["cancel", "hold", "hold", "release", "release", "retry", "retry"])
    ),
    st.tuples(st.just("reschedule"), st.sampled_from([-10.0, 0.0, 45.0, 500.0])),
    st.tuples(st.just("expire")),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 30.0, LEASE, LEASE, 500.0])),
)


@dataclass
class Walk:
    """One message, the claims its workers believe to hold, and the recipients as they were last seen."""

    message_id: UUID
    intervener: Intervener
    principal: Principal
    expires: float = math.inf
    seconds: float = 0
    held: dict[UUID, Claim] = field(default_factory=dict)
    lease_end: float = -math.inf
    owner: Claim | None = None
    seen: list[RecipientState] = field(default_factory=lambda: [RecipientState.QUEUED] * 3)

    @property
    def moment(self) -> datetime:
        return after(self.seconds)

    async def take(self, step: tuple[object, ...]) -> None:
        match step:
            case "wait", float(seconds):
                self.seconds += seconds
            case "claim", UUID() as worker:
                await self._claim(worker)
            case "renew", UUID() as worker if worker in self.held:
                await self._renew(self.held[worker])
            case "dot", UUID() as worker if worker in self.held:
                await self._begin_dot(self.held[worker])
            case "release", UUID() as worker if worker in self.held:
                claim = self.held.pop(worker)
                self._end(claim, await release_claim(claim, self.moment))
            case "settle", UUID() as worker, list(outcomes) if worker in self.held:
                claim = self.held.pop(worker)
                self._end(claim, await self._settle(claim, outcomes))
            case "intervene", str(verb):
                await self._intervene(getattr(self.intervener, verb)(self.message_id, self.principal, self.moment))
            case "reschedule", float(seconds):
                send_at = after(self.seconds + seconds)
                work = self.intervener.reschedule(self.message_id, send_at, self.principal, self.moment)
                await self._intervene(work)
            case ("expire",):
                await expire_overdue(self.moment, GRACE)
                self._end_lost_lease(touched=self.expires <= self.seconds, grace=GRACE)
                if self.expires <= self.seconds:
                    assert set(await recipient_states(self.message_id)) <= {*SETTLED, RecipientState.CLAIMED}

    async def _intervene(self, work: Awaitable[Intervention]) -> None:
        """What it says of each recipient is what it did, and the recipients of a living worker stay."""
        leased = self.owner is not None and self.seconds < self.lease_end + GRACE
        try:
            done = await work
        except Refusal:
            event("refused")
            return
        for before, change in zip(self.seen, done.recipients, strict=True):
            assert not (change.changed and leased and before == "claimed")
            lost_in_doubt = before == "claimed" and change.state == "failed" and not leased
            assert change.changed or change.state in {before, RecipientState.QUEUED} or lost_in_doubt
        assert (done.problem is None) == any(change.changed for change in done.recipients)
        assert [change.state for change in done.recipients] == await recipient_states(self.message_id)
        event("changed" if done.problem is None else "nothing to change")
        self._end_lost_lease(touched=True, grace=GRACE)

    def _end_lost_lease(self, *, touched: bool, grace: float = 0) -> None:
        if touched and self.seconds >= self.lease_end + grace:
            self.owner = None

    async def _claim(self, worker: UUID) -> None:
        leased = self.owner is not None and self.seconds < self.lease_end
        claim = await claim_message(worker, self.message_id, self.moment, LEASE, MAX_CRASHES)
        self._end_lost_lease(touched=True)
        if self.expires <= self.seconds:
            assert claim is None
        if claim is not None:
            assert not leased
            assert claim.fence > max((held.fence for held in self.held.values()), default=0)
            self.held[worker] = self.owner = claim
            self.lease_end = self.seconds + LEASE

    async def _renew(self, claim: Claim) -> None:
        renewed = await renew_lease(claim, self.moment, LEASE)
        assert renewed == (claim is self.owner)
        self.lease_end = self.seconds + LEASE if renewed else self.lease_end

    async def _begin_dot(self, claim: Claim) -> None:
        begun = await begin_dot(claim, [claim.recipients[0].id], self.moment, LEASE)
        assert begun == (claim is self.owner)
        self.lease_end = self.seconds + LEASE if begun else self.lease_end

    async def _settle(self, claim: Claim, outcomes: list[RecipientState]) -> bool:
        settlements = [
            Settlement(r.id, r.number, state, after(self.seconds + 30) if state == "deferred" else None)
            for r, state in zip(claim.recipients, outcomes, strict=False)
        ]
        return await settle(claim, lambda _: settlements, self.moment, self.moment)

    def _end(self, claim: Claim, ended: bool) -> None:
        event("its lease was still its own" if ended else "its lease was lost")
        assert ended == (claim is self.owner), "only the holder of the current fence ends the lease"
        self.owner = None if ended else self.owner

    async def check(self, step: tuple[object, ...]) -> None:
        found = await rows(
            "SELECT state, due_at, settled_at, attempt_number FROM recipient WHERE message_id = $1 ORDER BY position",
            self.message_id,
        )
        states = [RecipientState(row["state"]) for row in found]
        for before, now in zip(self.seen, states, strict=True):
            # Who intervenes after a lease has ended queues the recipients first, in the same transaction.
            path = (
                before is now
                or now in TRANSITIONS[before]
                or (before == "claimed" and now in TRANSITIONS[RecipientState.QUEUED])
            )
            assert path, f"{before} became {now}"
            assert before is now or before not in SETTLED or step == ("intervene", "retry"), "settled stays settled"
        await self._check_attempts()
        self.seen = states
        message = await message_row(self.message_id)
        assert message["state"] == message_state(states)
        assert (message["settled_at"] is not None) == SETTLED.issuperset(states)
        assert [row["settled_at"] is not None for row in found] == [state in SETTLED for state in states]
        assert [row["due_at"] is not None for row in found] == [state in CLAIMABLE for state in states]
        waiting = [as_moment(row["due_at"]) for row in found if row["due_at"]]
        assert message["due_at"] == (after(self.lease_end) if self.owner else min(waiting, default=None))
        assert (message["lease_owner"] is not None) == (self.owner is not None)

    async def _check_attempts(self) -> None:
        """Every attempt that was begun and not given back is written down once it has ended."""
        for row in await rows(
            "SELECT state, attempt_number, (SELECT COUNT(*) FROM attempt WHERE recipient_id = recipient.id) AS attempts"
            " FROM recipient WHERE message_id = $1",
            self.message_id,
        ):
            assert row["attempts"] == row["attempt_number"] - (row["state"] == "claimed")


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    walk=st.lists(steps, min_size=20, max_size=40),
    expires=st.sampled_from([math.inf, 100.0, 1000.0]),
    on_doubt=st.sampled_from(OnDoubt),
)
async def test_a_message_is_always_what_its_recipients_are(
    put_mail: Put,
    intervener: Intervener,
    principal: Principal,
    walk: list[tuple[object, ...]],
    expires: float,
    on_doubt: OnDoubt,
) -> None:
    schedule = Schedule(expires_at=None if math.isinf(expires) else after(expires))
    message_id = await put_mail("a@example.com", "b@example.com", "c@example.com", schedule=schedule, on_doubt=on_doubt)
    made = Walk(message_id, replace(intervener, lease_grace=GRACE), principal, expires)
    for step in walk:
        await made.take(step)
        await made.check(step)
