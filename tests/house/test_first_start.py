"""The first start makes all that is needed to send a mail: once, whole, or not at all."""

import asyncio

import pytest
from pydantic import SecretStr

from app.access.api_keys import list_api_keys
from app.access.authenticate import authenticate
from app.access.policy import allows
from app.access.principal import Action
from app.errors import InvalidInput
from app.first_start import FirstStart, first_start
from app.queue.forgive import forgive_outage
from app.services.environment import define_service
from app.services.manage import find_service
from app.services.secret import Sealer, sealer_from
from app.settings import Settings
from tests.factories import count, make_key, make_service

CHOSEN = "correct-horse-battery-staple"


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(["k" * 32])


def choosing(settings: Settings, key: str) -> Settings:
    return settings.model_copy(update={"admin_api_key": SecretStr(key)})


async def test_a_new_database_gets_an_admin_key_and_a_sandbox(database: Settings, sealer: Sealer) -> None:
    made = await first_start(database, sealer)

    assert made is not None
    principal = await authenticate(made.admin_key)
    assert all(allows(principal, action, None) for action in Action)
    service = await find_service(made.service_name)
    assert service is not None
    assert (service.name, service.kind, service.is_active) == ("email", "SANDBOX", True)
    assert service.from_email


async def test_a_second_start_makes_nothing(database: Settings, sealer: Sealer) -> None:
    await first_start(database, sealer)
    assert await first_start(database, sealer) is None
    assert [await count(table) for table in ("role", "api_key", "service")] == [1, 1, 1]


async def test_a_key_that_the_operator_chose_is_not_told(database: Settings, sealer: Sealer) -> None:
    assert await first_start(choosing(database, CHOSEN), sealer) == FirstStart(None, "email")
    assert (await authenticate(CHOSEN)).role_name == "admin"


async def test_a_key_that_will_not_do_leaves_no_trace(database: Settings, sealer: Sealer) -> None:
    with pytest.raises(InvalidInput, match="16 to 200 printable ASCII characters"):
        await first_start(choosing(database, "short"), sealer)
    assert [await count(table) for table in ("role", "api_key", "service")] == [0, 0, 0]

    assert await first_start(choosing(database, CHOSEN), sealer), "the corrected key is taken at the next start"


async def test_of_many_that_start_at_once_one_makes_it(database: Settings) -> None:
    sealer = sealer_from(database.model_copy(update={"secret_keys": (SecretStr("k" * 32),)}))
    made = await asyncio.gather(*(first_start(database, sealer) for _ in range(5)))

    assert [start is not None for start in made].count(True) == 1
    assert [await count(table) for table in ("role", "api_key", "service")] == [1, 1, 1]


async def test_a_service_that_is_there_already_is_left_as_it_is(database: Settings, sealer: Sealer) -> None:
    await make_service("email", label="mine")
    assert await first_start(database, sealer)
    service = await find_service("email")
    assert service is not None
    assert service.label == "mine"


async def test_no_sandbox_is_made_where_the_environment_defines_the_service(database: Settings, sealer: Sealer) -> None:
    settings = database.model_copy(update={"mail_host": "smtp.example.com"})
    await define_service(settings, sealer, forgive=forgive_outage)
    made = await first_start(settings, sealer)

    assert made is not None
    assert (made.service_name, made.service_kind, made.has_sender) == ("email", "SMTP", False)
    assert await count("service") == 1


@pytest.mark.parametrize(
    ("columns", "address", "has_sender"),
    [({}, None, False), ({}, "a@example.com", True), ({"from_email": "a@example.com"}, None, True)],
)
async def test_whether_a_first_mail_has_a_sender(
    sqlite_database: Settings, sealer: Sealer, columns: dict[str, str], address: str | None, has_sender: bool
) -> None:
    await make_service("email", **columns)
    made = await first_start(sqlite_database.model_copy(update={"mail_from_address": address}), sealer)
    assert made is not None
    assert made.has_sender is has_sender


async def test_a_database_with_any_key_is_not_new(database: Settings, sealer: Sealer) -> None:
    await make_key("reader", [])
    assert await first_start(database, sealer) is None
    assert len(await list_api_keys(None, 10)) == 1
