"""A DNS that is a table."""

from collections.abc import Mapping

from app.outbound.dns import Answer, DnsStatus, LookUp, RecordType

Zone = Mapping[tuple[str, str], list[str] | DnsStatus]


def answering(zone: Zone) -> LookUp:
    """Records by name and type; a name without any is not there."""
    names = {name for name, _ in zone}

    async def look_up(name: str, kind: RecordType) -> Answer:
        found = zone.get((name.lower(), kind))
        if isinstance(found, DnsStatus):
            return Answer(found)
        if found:
            return Answer(DnsStatus.FOUND, tuple(found))
        return Answer(DnsStatus.NO_RECORD if name.lower() in names else DnsStatus.NO_NAME)

    return look_up
