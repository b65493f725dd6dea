"""What a role may do, decided once more: from the description of grants alone, without a line of the policy."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A grant, as an administrator would say it; `service` None: all services."""

    service: str | None
    actions: frozenset[str]
    senders: tuple[str, ...] = ()
    not_senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    not_recipients: tuple[str, ...] = ()


def may(role: Sequence[Row], action: str, service: str) -> bool:
    row = _row(role, service)
    if action in ("MANAGE_ACCESS", "MANAGE_TEMPLATES"):
        row = _row(role, None)
    return row is not None and action in row.actions


def may_send(role: Sequence[Row], service: str, sender: str, recipients: Sequence[str]) -> bool:
    row = _row(role, service)
    if row is None or "SEND" not in row.actions:
        return False
    return _passes(sender, row.senders, row.not_senders) and all(
        _passes(recipient, row.recipients, row.not_recipients) for recipient in recipients
    )


def _row(role: Sequence[Row], service: str | None) -> Row | None:
    rows = {row.service: row for row in role}
    return rows.get(service, rows.get(None))


def _passes(address: str, only: Sequence[str], never: Sequence[str]) -> bool:
    if any(_matches(pattern.lower(), address.lower()) for pattern in never):
        return False
    return not only or any(_matches(pattern, address) for pattern in only)


def _matches(pattern: str, address: str) -> bool:
    if pattern == "*":
        return True
    wanted, at = pattern.rsplit("@", 1)
    local, domain = address.rsplit("@", 1)
    at, domain = (text.lower().encode("idna").decode() for text in (at.replace("*.", "any."), domain))
    inside = domain.endswith(at.removeprefix("any")) if at.startswith("any.") else domain == at
    return inside and wanted in ("*", local)
