"""What a server said about SIZE is kept as long as it is that server."""

import pytest

from app.queue.forgive import forgive_outage
from app.services.announced import note_announced_size
from app.services.manage import ServiceChanges, update_service
from app.services.models import Service
from app.services.secret import sealer_from
from app.settings import Settings
from tests.factories import make_service


async def stored(service: Service) -> int | None:
    size: int | None = (await Service.get(id=service.id)).announced_size
    return size


SAID = {"35882577": 35882577, "1000 more": 1000, "0": None, "": None, "a lot": None, "9" * 30: None, "٣": 3}
SAID["9223372036854775807"] = 2**63 - 1


@pytest.mark.parametrize("parameter", SAID)
async def test_a_number_is_a_limit_and_everything_else_none(database: Settings, parameter: str) -> None:
    service = await make_service()
    await note_announced_size(service, "7")
    assert await stored(service) == 7
    await note_announced_size(service, parameter)
    assert await stored(service) == service.announced_size == SAID[parameter]


async def test_nothing_is_written_that_is_known_or_of_another_server(sqlite_database: Settings) -> None:
    service = await make_service()
    await note_announced_size(service, "7")
    await Service.filter(id=service.id).update(announced_size=8)
    await note_announced_size(service, "7")
    assert await stored(service) == 8
    await Service.filter(id=service.id).update(version=service.version + 1)
    await note_announced_size(service, "9")
    assert await stored(service) == 8


async def test_another_server_is_not_known_yet(sqlite_database: Settings) -> None:
    service = await make_service(kind="SMTP", host="a.example", port=587)
    for changes, size in ((ServiceChanges(label="x"), 7), (ServiceChanges(host="b.example"), None)):
        await note_announced_size(service, "7")
        service = await update_service(service, changes, None, sealer_from(sqlite_database), forgive=forgive_outage)
        assert await stored(service) == service.announced_size == size
