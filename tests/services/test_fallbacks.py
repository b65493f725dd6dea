"""What may be a service's fallback, on both databases."""

from uuid import UUID

import pytest

from app.access.principal import Action, GrantRule, Principal
from app.database.connection import rows
from app.errors import ErrorCode, InvalidInput
from app.queue.forgive import forgive_outage
from app.queue.remove import remove_service
from app.services.check import ServiceValues
from app.services.fallbacks import MAX_FALLBACKS, service_names
from app.services.manage import ServiceChanges, create_service, update_service
from app.services.models import Service
from app.services.secret import Sealer
from tests.factories import NOW, make_service

pytestmark = pytest.mark.usefixtures("database")

SEALER = Sealer(["k" * 32])
NOBODY = UUID(int=7)


async def change(service: Service, by: Principal | None = None, **changes: object) -> Service:
    given: ServiceChanges = changes  # type: ignore[assignment]
    return await update_service(service, given, by, SEALER, forgive=forgive_outage)


def managing(*services: Service) -> Principal:
    rules = tuple(GrantRule(service.id, frozenset({Action.MANAGE_SERVICES})) for service in services)
    return Principal(NOBODY, "some", NOBODY, "key", rules)


async def test_fallbacks_are_kept_in_order_over_renames_and_told_to_the_audit_log() -> None:
    first, second = await make_service("first"), await make_service("second")
    made = await create_service(ServiceValues(name="own", kind="SANDBOX", fallbacks=["Second", "first"]), None, SEALER)
    assert made.fallbacks == [str(second.id), str(first.id)]
    await change(first, name="renamed")
    own = await Service.get(id=made.id)
    assert (await change(own, label="x")).fallbacks == [str(second.id), str(first.id)]
    assert await service_names([first.id]) == {first.id: "renamed"}
    assert (await change(own, fallbacks=None)).fallbacks is None
    found = await rows("SELECT after FROM audit_entry WHERE subject_id = $1 ORDER BY id", own.id)
    assert str(second.id) in found[0]["after"]
    assert "fallbacks" not in found[1]["after"]
    assert '"fallbacks"' in found[2]["after"].replace(" ", "")


async def test_what_cannot_be_a_fallback_is_refused_by_its_place() -> None:
    own, real = await make_service("own"), await make_service("real", kind="SMTP", host="a.example", port=25)
    await make_service("other")
    with pytest.raises(InvalidInput) as refused:
        await change(own, fallbacks=["own", "real", "nothing", "other", "other", "ä"])
    codes = [(problem.field, problem.code) for problem in refused.value.problems]
    assert codes == [
        (("fallbacks",), ErrorCode.INVALID_INPUT),
    ], f"more than {MAX_FALLBACKS}"
    with pytest.raises(InvalidInput) as refused:
        await change(own, fallbacks=["own", "real", "nothing", "other", "other"])
    assert [(problem.field[1], problem.code) for problem in refused.value.problems] == [
        ("0", ErrorCode.INVALID_INPUT),
        ("1", ErrorCode.INVALID_INPUT),
        ("2", ErrorCode.SERVICE_NOT_FOUND),
        ("4", ErrorCode.INVALID_INPUT),
    ]
    with pytest.raises(InvalidInput):
        await change(real, fallbacks=["own"])


async def test_who_does_not_manage_a_service_learns_nothing_of_it_and_may_keep_it_as_a_fallback() -> None:
    secret, mine = await make_service("secret"), await make_service("mine")
    own = await make_service("own", fallbacks=None)
    by = managing(own, mine)
    refusals = []
    for name in ("secret", "nothing"):
        with pytest.raises(InvalidInput) as refused:
            await change(own, by, fallbacks=[name])
        refusals.append([(p.code, p.message.replace(name, "?"), p.field) for p in refused.value.problems])
    assert refusals[0] == refusals[1]

    await change(own, fallbacks=["secret"])
    changed = await change(await Service.get(id=own.id), by, fallbacks=["mine", "secret"])
    assert changed.fallbacks == [str(mine.id), str(secret.id)]


async def test_a_deleted_service_is_nobodys_fallback() -> None:
    other, own = await make_service("other"), await make_service("own")
    await change(own, fallbacks=["other"])
    await remove_service(other.id, None, NOW)
    own = await Service.get(id=own.id)
    assert await service_names(list(map(UUID, own.fallbacks or ()))) == {}
    assert (await change(own, label="still changed")).label == "still changed"
