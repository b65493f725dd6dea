"""Who is asking, and what their role was granted."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Action(StrEnum):
    """SEND: submit mail. READ_MESSAGES: read messages and captured mail. MANAGE: change a service; granted
    for all services, also make services, roles and API keys."""

    SEND = "SEND"
    READ_MESSAGES = "READ_MESSAGES"
    MANAGE = "MANAGE"


@dataclass(frozen=True, slots=True)
class GrantRule:
    """What may be done with one service, or with all services where `service_id` is None."""

    service_id: UUID | None
    actions: frozenset[Action]


@dataclass(frozen=True, slots=True)
class Principal:
    """The API key of a request, with its role. `grants` has at most one rule per service.

    `origin`: the remote address of the request, for the audit log; None where there is none.
    """

    role_id: UUID
    role_name: str
    api_key_id: UUID
    api_key_name: str
    grants: tuple[GrantRule, ...]
    origin: str | None = None
