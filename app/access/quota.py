"""How many recipients a principal may send to: taken as mail is accepted, all of it or nothing.

Each limit of the role, of its grant for the service, of the API key and of the client address counts by itself, in
every one of its windows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from uuid import UUID, uuid5

from msgspec import Struct

from app.access.policy import rule_for
from app.access.principal import Principal
from app.database.connection import as_moment, insert
from app.errors import RateLimited
from app.limits.counter import Taken, Window, count_rows, lock_subjects, read_buckets
from app.limits.recipients import columns_of, limits_of
from app.limits.sums import Sums, read_sums
from app.limits.window import BUCKETS, LENGTHS, Buckets, Limits, Span, bucket_of, counts_after, free_at, used_at


class Scope(StrEnum):
    """What a limit is set on."""

    ROLE = "ROLE"
    GRANT = "GRANT"
    API_KEY = "API_KEY"
    CLIENT_ADDRESS = "CLIENT_ADDRESS"


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one subject: the key that its counts have, and as text. `name` says to people whose limits they
    are."""

    scope: Scope
    name: str
    subject: UUID
    limits: Limits
    subject_text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject_text", str(self.subject))


class Standing(Struct, frozen=True):
    """How much of one limit is used. `reset_at`: when all of it is free again if nothing more is taken; None: it is."""

    scope: Scope
    span: Span
    limit: int
    used: int
    reset_at: datetime | None

    @property
    def remaining(self) -> int:
        """How many are free; a limit that was lowered may be used more than up."""
        return max(0, self.limit - self.used)


def quotas_of(
    principal: Principal, service_id: UUID | None, service_name: str = "", client: UUID | None = None
) -> tuple[Quota, ...]:
    """What limits the principal's mail through this service, as far as anything does; None: through any service. Pure.
    `client` is the subject of a browser key's limits per client address.

    The counts of a grant belong to the role and the service: they outlive the grant's replacement, and a grant for all
    services allows as much with each of them.
    """
    role, quotas = f"role '{principal.role_name}'", []
    if principal.role_limits:
        quotas.append(Quota(Scope.ROLE, role, principal.role_id, principal.role_limits))
    if principal.api_key_limits:
        name = f"API key '{principal.api_key_name}'"
        quotas.append(Quota(Scope.API_KEY, name, principal.api_key_id, principal.api_key_limits))
    rule = rule_for(principal, service_id) if service_id is not None else None
    if service_id is not None and rule is not None and rule.limits:
        name, subject = f"{role} with service '{service_name}'", uuid5(principal.role_id, service_id.hex)
        quotas.append(Quota(Scope.GRANT, name, subject, rule.limits))
    if principal.browser is not None:
        assert client is not None, "a browser key is not used without its limits per client address"
        name = f"API key '{principal.api_key_name}' for one client address"
        limits = limits_of(columns_of(principal.browser.limits))
        quotas.append(Quota(Scope.CLIENT_ADDRESS, name, client, limits))
    return tuple(quota for quota in quotas if quota.limits)


async def lock_quotas(of_mails: Iterable[Sequence[Quota]]) -> None:
    """Let all others who take of these quotas wait until the transaction ends."""
    subjects = {quota.subject_text for quotas, _ in groupby(of_mails) for quota in quotas}
    if subjects:
        await lock_subjects(subjects)


async def take_quotas(quotas: Sequence[Quota], count: int, moment: datetime) -> Standing | None:
    """Take `count` recipients of every quota; returns how the tightest limit stands then, None where there is none.

    Call it inside the transaction that accepts them: the quotas stay locked until it ends. Raises RateLimited, and
    nothing is taken, where any window of any quota has no room for all of them.
    """
    (outcome,), takes = await take_in_turn([(quotas, count)], moment)
    if isinstance(outcome, RateLimited):
        raise outcome
    await insert(count_rows(takes))
    return outcome


async def take_in_turn(
    wanted: Sequence[tuple[Sequence[Quota], int]], moment: datetime
) -> tuple[list[Standing | RateLimited | None], list[Taken]]:
    """The same for several mails, one after the other; of each the tightest standing, or the refusal. Those behind one
    that is refused may have room. And what was taken, for the caller to insert as `count_rows` says."""
    subjects = list({quota.subject_text for quotas, _ in groupby(wanted, itemgetter(0)) for quota in quotas})
    if not subjects:
        return [None] * len(wanted), []
    await lock_subjects(subjects)
    tallies = _Tallies(await read_sums(subjects, moment), moment)
    outcomes: list[Standing | RateLimited | None] = []
    for quotas, mails in groupby(wanted, itemgetter(0)):
        row = _Row(quotas, tallies)
        for _, count in mails:
            if row.room is None or row.room >= count:
                outcomes.append(row.take(count))
            else:
                row.write_down()
                outcomes.append(_refusal(quotas, await tallies.buckets(quotas), count, moment))
        row.write_down()
    return outcomes, tallies.taken()


async def read_standings(quotas: Sequence[Quota], moment: datetime) -> list[Standing]:
    """How each limit of the quotas stands."""
    if not quotas:
        return []
    return list(_standings(quotas, await read_buckets([quota.subject for quota in quotas], moment), moment))


class TakenTogether:
    """What several mails take of their quotas, provided that there is room for all of them.

    `windows`: what has to have room, of the `subjects`; then each of them has room in its turn. `takes`: what is to be
    counted."""

    def __init__(self, wanted: Sequence[tuple[Sequence[Quota], int]], moment: datetime) -> None:
        self._wanted, self._moment = wanted, moment
        tallies = _Tallies(Sums({}, {}), moment)
        limits: dict[str, dict[Span, int]] = {}
        for quotas, mails in groupby(wanted, itemgetter(0)):
            taken = sum([count for _, count in mails])
            for quota in quotas:
                tallies.take(quota, taken)
                of_subject = limits.setdefault(quota.subject_text, {})
                for span, limit in quota.limits.items():
                    of_subject[span] = min(limit, of_subject.get(span, limit))
        self.takes = tallies.taken()
        self.subjects = list(limits)
        self.windows: list[Window] = []
        for subject, of_subject in limits.items():
            used = tallies.used(subject)
            self.windows += [
                Window(subject, span, counts_after(moment, span), limit - used[_PLACES[span]])
                for span, limit in of_subject.items()
            ]

    def standings(self, used: Sequence[tuple[int, datetime | None]]) -> list[Standing | None]:
        """How the tightest limit stands after each mail, None where there is none; see `take_in_turn`. `used`: what was
        in each of the windows before, and its last bucket if that is later than the one of now."""
        before = {subject: [0] * len(Span) for subject in self.subjects}
        latest: dict[str, list[datetime | None]] = {subject: [None] * len(Span) for subject in self.subjects}
        for window, (sum_, last) in zip(self.windows, used, strict=True):
            place = _PLACES[window.span]
            before[window.subject][place], latest[window.subject][place] = sum_, last
        tallies = _Tallies(Sums(before, latest), self._moment)
        standings: list[Standing | None] = []
        for quotas, mails in groupby(self._wanted, itemgetter(0)):
            row = _Row(quotas, tallies)
            standings += [row.take(count) for _, count in mails]
            row.write_down()
        return standings


Counted = Mapping[UUID, Mapping[Span, Buckets]]


@dataclass(frozen=True, slots=True)
class _Want:
    """A limit without room; `free_at`: when there is room for all, None: never."""

    quota: Quota
    span: Span
    limit: int
    used: int
    free_at: datetime | None


class _Tallies:
    """What is used of each subject in each span, with what this transaction has taken so far."""

    def __init__(self, sums: Sums, moment: datetime) -> None:
        self.moment = moment
        self._sums = sums
        self._taken: dict[str, dict[tuple[Span, ...], int]] = {}

    def used(self, subject: str) -> Sequence[int]:
        """In the order of Span."""
        used = self._sums.used.get(subject, _NOTHING)
        for spans, count in self._taken.get(subject, _NONE).items():
            used = [before + count if span in spans else before for before, span in zip(used, Span, strict=True)]
        return used

    def take(self, quota: Quota, count: int) -> None:
        taken, spans = self._taken.setdefault(quota.subject_text, {}), tuple(quota.limits)
        taken[spans] = taken.get(spans, 0) + count

    def taken(self) -> list[Taken]:
        return [
            Taken(subject, spans, self.moment, count)
            for subject, of_subject in self._taken.items()
            for spans, count in of_subject.items()
        ]

    def all_free_at(self, subject: str, span: Span) -> datetime:
        """When nothing counts any more of a subject of which something is used."""
        last = bucket_of(self.moment, span)
        if subject in self._sums.latest:
            last = max(last, as_moment(self._sums.latest[subject][_PLACES[span]]) or last)
        return last + BUCKETS[span] + LENGTHS[span]

    async def buckets(self, quotas: Sequence[Quota]) -> Mapping[UUID, Mapping[Span, Buckets]]:
        counted = await read_buckets([quota.subject for quota in quotas], self.moment)
        return {
            subject: {span: self._with(found, subject, span) for span, found in of_subject.items()}
            for subject, of_subject in counted.items()
        }

    def _with(self, buckets: Buckets, subject: UUID, span: Span) -> Buckets:
        start = bucket_of(self.moment, span)
        added = sum([count for spans, count in self._taken.get(str(subject), _NONE).items() if span in spans])
        return {**buckets, start: buckets.get(start, 0) + added} if added else buckets


_PLACES = {span: place for place, span in enumerate(Span)}
_NOTHING = (0,) * len(Span)
_NONE: Mapping[tuple[Span, ...], int] = {}


class _Row:
    """Mails one after the other that count in the same quotas, of subjects that differ. All their limits lose the same,
    so the one of which the least remains stays the one. `room`: how much that is; None: there are no limits."""

    def __init__(self, quotas: Sequence[Quota], tallies: _Tallies) -> None:
        self.quotas = quotas
        self._tallies = tallies
        self._taken = 0
        self._reset_at: datetime | None = None
        least: int | None = None
        for quota in quotas:
            used = tallies.used(quota.subject_text)
            for span, limit in quota.limits.items():
                room = limit - used[_PLACES[span]]
                if least is None or room < least:
                    least = room
                    self._quota, self._span, self._limit = quota, span, limit
        self.room = least

    def take(self, count: int) -> Standing | None:
        """Take so many, for which there is room; how the tightest limit stands then."""
        self._taken += count
        if self.room is None:
            return None
        self.room -= count
        used = self._limit - self.room
        if used and self._reset_at is None:
            self._reset_at = self._tallies.all_free_at(self._quota.subject_text, self._span)
        return Standing(self._quota.scope, self._span, self._limit, used, self._reset_at if used else None)

    def write_down(self) -> None:
        """Count in the tallies what was taken."""
        if self._taken:
            for quota in self.quotas:
                self._tallies.take(quota, self._taken)
            self._taken = 0


def _refusal(quotas: Sequence[Quota], counted: Counted, count: int, moment: datetime) -> RateLimited:
    """The limit that is named is the last to have room, so that the client who waits for it is not refused again."""
    wants = list(_wants(quotas, counted, count, moment))
    never = [want for want in wants if want.free_at is None]
    if never:
        return _never(min(never, key=lambda want: want.limit), count)
    return _later(max(wants, key=lambda want: want.free_at or moment), moment)


def _wants(quotas: Sequence[Quota], counted: Counted, count: int, moment: datetime) -> Iterator[_Want]:
    for quota in quotas:
        for span, limit in quota.limits.items():
            buckets = counted[quota.subject][span]
            used = used_at(buckets, moment, span)
            if count > limit:
                yield _Want(quota, span, limit, used, None)
            elif used + count > limit:
                yield _Want(quota, span, limit, used, free_at(buckets, moment, span, limit, count))


def _never(want: _Want, count: int) -> RateLimited:
    message = f"{_exceeded(want)}, and this mail has {count}: it can never pass. Send it in smaller parts."
    return RateLimited(message, limit=want.limit, remaining=max(0, want.limit - want.used))


def _later(want: _Want, moment: datetime) -> RateLimited:
    free = want.free_at or moment
    seconds = max(1, -((moment - free) // timedelta(seconds=1)))
    return RateLimited(
        f"{_exceeded(want)}. Try again in {seconds} s.",
        limit=want.limit,
        remaining=max(0, want.limit - want.used),
        reset_at=free,
        retry_after=seconds,
    )


def _exceeded(want: _Want) -> str:
    recipients = "recipient" if want.limit == 1 else "recipients"
    return f"API limit(s) exceeded. The limit of {want.quota.name} is {want.limit} {recipients} per {want.span}"


def _standings(quotas: Sequence[Quota], counted: Counted, moment: datetime) -> Iterator[Standing]:
    for quota in quotas:
        for span, limit in quota.limits.items():
            buckets = counted[quota.subject][span]
            used = used_at(buckets, moment, span)
            reset_at = free_at(buckets, moment, span, limit, limit) if used else None
            yield Standing(quota.scope, span, limit, used, reset_at)
