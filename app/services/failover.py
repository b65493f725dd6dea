"""Which service stands in for one whose server cannot be talked to. Pure.

A service names its fallbacks in order of preference. They are not transitive: a fallback's own fallbacks do not count.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Condition(StrEnum):
    """What is known of a service. DUE: its circuit is open, and a probe may go now. DOWN: it is open, and none may.
    PROVING: a mail proves its new credentials right now. SHUT: paused, not active, or gone."""

    READY = "ready"
    DUE = "due"
    PROVING = "proving"
    DOWN = "down"
    SHUT = "shut"


USABLE = frozenset({Condition.READY, Condition.DUE})
_LEFT = frozenset({Condition.DOWN, Condition.SHUT})

Conditions = Mapping[UUID, Condition]
"""Of all services that there are."""


@dataclass(frozen=True, slots=True)
class Move:
    """Mail that waits at `source` goes to `target`: all of it, or only `one` mail, as a probe."""

    source: UUID
    target: UUID
    one: bool = False


def choose_service(own: UUID, fallbacks: Sequence[UUID], conditions: Conditions) -> UUID:
    """By which service a mail leaves: the first fallback that is usable where `own` is down, else `own`.

    A service that somebody paused, or made inactive, keeps its mail.
    """
    if conditions.get(own, Condition.SHUT) is not Condition.DOWN:
        return own
    usable = (key for key in fallbacks if conditions.get(key) in USABLE)
    return next(usable, own)


def plan_moves(own: UUID, fallbacks: Sequence[UUID], elsewhere: Collection[UUID], conditions: Conditions) -> list[Move]:
    """What to do with the waiting mail of `own`, which stands there and at the services `elsewhere`.

    It leaves what is down, and returns to what comes first as soon as that is ready; where a probe is due, one mail
    finds out. Earlier moves go first: what they took is not there for later ones.
    """
    if conditions.get(own, Condition.SHUT) is Condition.SHUT:
        return [Move(source, own) for source in elsewhere]
    chain = [own, *fallbacks]
    return [move for source in (own, *elsewhere) for move in _moves_from(source, chain, conditions)]


def _moves_from(source: UUID, chain: Sequence[UUID], conditions: Conditions) -> list[Move]:
    condition = conditions.get(source, Condition.SHUT)
    is_left = source not in chain or condition in _LEFT
    better = chain[: chain.index(source)] if source in chain else chain
    targets = [key for key in chain if key != source and (is_left or key in better)]
    found = {key: conditions.get(key) for key in targets}
    moves = [Move(source, key, one=found[key] is Condition.DUE) for key in targets if found[key] in USABLE]
    if source not in chain or (condition is Condition.SHUT and source != chain[0]):
        moves.append(Move(source, chain[0]))
    return moves
