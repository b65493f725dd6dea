"""What limits a principal's mail: exact, all or nothing, and told in time."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.access.principal import Action, GrantRule, Principal
from app.access.quota import Quota, Scope, Standing, quotas_of, read_standings, take_in_turn, take_quotas
from app.database.connection import dialect, execute, insert, transaction
from app.database.key import new_key
from app.errors import ErrorCode, RateLimited
from app.limits.counter import count_rows, forget_old_counts
from app.limits.window import BUCKETS, LENGTHS, Limits, Span
from app.settings import Settings
from tests.factories import NOW, after, count

M, H, D = Span.MINUTE, Span.HOUR, Span.DAY
SEND = frozenset({Action.SEND})


def quota(limits: Limits, subject: UUID | None = None, name: str = "role 'shop'") -> Quota:
    return Quota(Scope.ROLE, name, subject or new_key(), limits)


async def take(quotas: list[Quota], wanted: int, moment: datetime = NOW) -> Standing | None:
    async with transaction():
        return await take_quotas(quotas, wanted, moment)


async def refusal(quotas: list[Quota], wanted: int, moment: datetime = NOW) -> RateLimited:
    with pytest.raises(RateLimited) as refused:
        await take(quotas, wanted, moment)
    return refused.value


async def used(quotas: list[Quota], moment: datetime = NOW) -> list[int]:
    return [standing.used for standing in await read_standings(quotas, moment)]


def test_limits_are_of_the_role_the_key_and_the_grant_that_decides() -> None:
    shop, fax = new_key(), new_key()
    grants = (GrantRule(None, SEND, limits={H: 5}), GrantRule(shop, SEND, limits={M: 7}))
    principal = Principal(new_key(), "shop", new_key(), "laptop", grants, {D: 9}, {M: 3})

    def limits(service_id: UUID | None) -> dict[str, Limits]:
        return {quota.name: quota.limits for quota in quotas_of(principal, service_id, "email")}

    always = {"role 'shop'": {D: 9}, "API key 'laptop'": {M: 3}}
    assert limits(shop) == always | {"role 'shop' with service 'email'": {M: 7}}
    assert limits(fax) == always | {"role 'shop' with service 'email'": {H: 5}}
    assert limits(None) == always
    subjects = [quota.subject for key in (shop, fax) for quota in quotas_of(principal, key, "email")]
    assert len(set(subjects)) == 4
    assert quotas_of(Principal(new_key(), "shop", new_key(), "laptop", (GrantRule(None, SEND),)), shop) == ()


@pytest.mark.usefixtures("database")
async def test_the_limit_is_taken_to_the_last_recipient_and_not_beyond() -> None:
    limited = [quota({M: 10})]
    assert await take(limited, 6) == Standing(Scope.ROLE, M, 10, 6, after(61))
    assert await take(limited, 4, after(30)) == Standing(Scope.ROLE, M, 10, 10, after(91))

    refused = await refusal(limited, 1, after(30.25))
    (problem,) = refused.problems
    assert problem.code is ErrorCode.RATE_LIMITED
    assert (problem.retryable, problem.retry_after) == (True, 31)
    assert (refused.limit, refused.remaining, refused.reset_at) == (10, 0, after(61))
    assert problem.message == (
        "API limit(s) exceeded. The limit of role 'shop' is 10 recipients per minute. Try again in 31 s."
    )
    assert (await refusal(limited, 7, after(30))).problems[0].retry_after == 61, "not before both are free"
    await refusal(limited, 1, after(60.9))
    assert await used(limited, after(61)) == [4], "what is refused is not counted"
    assert (await take(limited, 6, after(61))) == Standing(Scope.ROLE, M, 10, 10, after(122))


@pytest.mark.usefixtures("database")
async def test_more_than_the_limit_itself_can_never_pass() -> None:
    limited = [quota({M: 10, H: 100}), quota({H: 8}, name="API key 'web'")]
    refused = await refusal(limited, 11)
    (problem,) = refused.problems
    assert (problem.code, problem.retryable) == (ErrorCode.RATE_LIMITED, False)
    assert (refused.limit, refused.remaining, refused.reset_at) == (8, 8, None)
    assert problem.message == (
        "API limit(s) exceeded. The limit of API key 'web' is 8 recipients per hour, and this mail has 11: it can never"
        " pass. Send it in smaller parts."
    )
    assert await used(limited) == [0, 0, 0]


@pytest.mark.usefixtures("database")
async def test_every_window_of_every_quota_needs_room_and_the_last_to_have_it_is_named() -> None:
    role, key = quota({M: 5, D: 20}), quota({H: 6}, name="API key 'web'")
    await take([role, key], 5)
    assert await used([role, key]) == [5, 5, 5]

    refused = await refusal([role, key], 2)
    assert "API key 'web' is 6 recipients per hour" in refused.problems[0].message
    assert (refused.problems[0].retry_after, refused.remaining) == (3660, 1)
    assert (await refusal([role, key], 1)).problems[0].retry_after == 61
    assert await used([role, key]) == [5, 5, 5]
    tightest = await take([role, key], 1, after(61))
    assert tightest == Standing(Scope.ROLE, H, 6, 6, after(3720))


@pytest.mark.usefixtures("database")
async def test_a_limit_that_is_changed_counts_at_once() -> None:
    subject = new_key()
    await take([quota({M: 10}, subject)], 8)
    lowered = await read_standings([quota({M: 5}, subject)], NOW)
    assert [(standing.used, standing.remaining) for standing in lowered] == [(8, 0)]
    assert (await refusal([quota({M: 5}, subject)], 1)).remaining == 0
    await take([quota({M: 20}, subject)], 12)
    await take([quota({H: 3}, subject)], 3)


@pytest.mark.usefixtures("database")
async def test_what_is_rolled_back_is_not_counted() -> None:
    limited = [quota({M: 10})]

    async def fail() -> None:
        async with transaction():
            await take_quotas(limited, 7, NOW)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await used(limited) == [0]


@pytest.mark.usefixtures("database")
async def test_who_shares_some_quotas_never_waits_in_a_circle() -> None:
    """Each in another order, while housekeeping deletes what nobody uses."""
    shared = [quota({M: 40}) for _ in range(3)]
    for each in shared:
        await execute("INSERT INTO pace (subject) VALUES ($1)", each.subject)
    orders = [shared[n % 3 :] + shared[: n % 3] for n in range(60)]

    async def clean() -> None:
        for _ in range(20):
            await forget_old_counts(NOW)

    takes = [take(order[: 2 + n % 2], 1) for n, order in enumerate(orders)]
    results = await asyncio.gather(clean(), *takes, return_exceptions=True)
    assert {type(result) for result in results} <= {Standing, RateLimited, type(None)}
    assert sum(isinstance(result, Standing) for result in results) >= 40
    assert max(await used(shared)) == 40


@pytest.mark.usefixtures("database")
async def test_an_idle_quota_leaves_no_row() -> None:
    await take([quota({M: 10}), quota({D: 10})], 1)
    await forget_old_counts(after(61))
    assert (await count("counter"), await count("pace")) == (1, 1 if dialect() == "postgres" else 0)
    await forget_old_counts(NOW + LENGTHS[D] + BUCKETS[D])
    assert (await count("counter"), await count("pace")) == (0, 0)


@dataclass
class Naive:
    """Every recipient with its moment, and each limit by looking at all of them."""

    limits: Mapping[str, Limits]
    taken: dict[str, list[datetime]] = field(default_factory=dict)

    def takes(self, names: list[str], wanted: int, moment: datetime) -> bool:
        """Whether there is room everywhere; if so, it is taken."""
        if not all(self._has_room(name, wanted, moment) for name in names):
            return False
        for name in names:
            self.taken.setdefault(name, []).extend([moment] * wanted)
        return True

    def _has_room(self, name: str, wanted: int, moment: datetime) -> bool:
        return all(
            sum(_bucket_end(one, span) > moment - LENGTHS[span] for one in self.taken.get(name, ())) + wanted <= limit
            for span, limit in self.limits[name].items()
        )


def _bucket_end(moment: datetime, span: Span) -> datetime:
    length = BUCKETS[span].total_seconds()
    return NOW + timedelta(seconds=((moment - NOW).total_seconds() // length + 1) * length)


some_limits = st.dictionaries(st.sampled_from(Span), st.integers(1, 12), min_size=1)
some_mails = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 29.5, 30.0, 60.0, 61.0, 1800.0, 3600.0, 3660.0, 86400.0]),
        st.lists(st.sampled_from(["role", "grant", "key"]), min_size=1, unique=True),
        st.integers(1, 13),
    ),
    max_size=25,
)


@given(limits=st.fixed_dictionaries(dict.fromkeys(("role", "grant", "key"), some_limits)), mails=some_mails)
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_asked_the_answer_is_that_of_a_naive_model(
    sqlite_database: Settings, limits: dict[str, Limits], mails: list[tuple[float, list[str], int]]
) -> None:
    model, quotas, seconds = Naive(limits), {name: quota(limits[name]) for name in limits}, 0.0
    for pause, names, wanted in mails:
        seconds += pause
        asked = [quotas[name] for name in names]
        if model.takes(names, wanted, after(seconds)):
            assert await take(asked, wanted, after(seconds))
            continue
        (problem,) = (await refusal(asked, wanted, after(seconds))).problems
        fits = all(wanted <= limit for name in names for limit in limits[name].values())
        assert problem.retryable is fits
        if fits:
            await _fits_then_and_not_a_second_before(asked, wanted, seconds, problem.retry_after)


@given(
    limits=st.fixed_dictionaries(dict.fromkeys(("role", "grant", "key"), some_limits)),
    mails=some_mails,
    earlier=st.integers(0, 5),
)
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_mails_together_have_the_answers_that_they_have_one_after_the_other(
    sqlite_database: Settings, limits: dict[str, Limits], mails: list[tuple[float, list[str], int]], earlier: int
) -> None:
    quotas = {name: quota(limits[name]) for name in limits}
    wanted = [([quotas[name] for name in names], count) for _, names, count in mails]
    wanted.insert(len(wanted) // 2, ([], 3))
    for asked, some in wanted[:earlier]:
        with suppress(RateLimited):
            await take(asked, some, after(-90))
    alone: list[Standing | RateLimited | None] = []
    standings: list[Standing] = []
    with suppress(_Undone):
        async with transaction():
            alone += [await _answer(*each) for each in wanted]
            standings += await read_standings(list(quotas.values()), NOW)
            raise _Undone
    async with transaction():
        together, takes = await take_in_turn(wanted, NOW)
        await insert(count_rows(takes))
    assert [_told(answer) for answer in together] == [_told(answer) for answer in alone]
    assert await read_standings(list(quotas.values()), NOW) == standings


@pytest.mark.usefixtures("database")
async def test_each_of_many_subjects_has_its_own_sums() -> None:
    """More than are summed by one statement."""
    many = [quota({H: 100}) for _ in range(20)]
    for number, one in enumerate(many):
        if number % 3:
            await take([one], number)
    async with transaction():
        outcomes, _ = await take_in_turn([([one], 1) for one in many], NOW)
    assert outcomes == [Standing(Scope.ROLE, H, 100, (n if n % 3 else 0) + 1, after(3660)) for n in range(20)]


async def _answer(asked: Sequence[Quota], wanted: int) -> Standing | RateLimited | None:
    try:
        return await take_quotas(asked, wanted, NOW)
    except RateLimited as refused:
        return refused


def _told(answer: Standing | RateLimited | None) -> object:
    return answer.problems if isinstance(answer, RateLimited) else answer


async def _fits_then_and_not_a_second_before(asked: list[Quota], wanted: int, seconds: float, wait: int) -> None:
    await refusal(asked, wanted, after(seconds + wait - 1))
    with pytest.raises(_Undone):
        await _try_out(asked, wanted, after(seconds + wait))


class _Undone(Exception):
    """Ends a transaction that is only tried out."""


async def _try_out(asked: list[Quota], wanted: int, moment: datetime) -> None:
    async with transaction():
        await take_quotas(asked, wanted, moment)
        raise _Undone


async def test_what_a_clock_that_is_ahead_took_is_free_only_later(database: Settings) -> None:
    """Of one subject only: the other's standing is as ever."""
    subject, other = new_key(), new_key()
    await take([quota({M: 10, H: 100}, other)], 2)
    await take([quota({M: 10, H: 100}, subject)], 2, after(7))
    (standing,), _ = await take_in_turn([([quota({M: 10, H: 100}, subject)], 3)], NOW)
    (usual,), _ = await take_in_turn([([quota({M: 10, H: 100}, other)], 3)], NOW)
    assert isinstance(standing, Standing)
    assert isinstance(usual, Standing)
    assert (standing.used, standing.reset_at) == (5, after(7 + 61))
    assert (usual.used, usual.reset_at) == (5, after(61))
