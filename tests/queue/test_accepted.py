"""What is told of a mail as it was put is what is read of it."""

from typing import Any

import pytest

from app.access.policy import ServiceScope
from app.access.principal import Principal
from app.database.key import new_key
from app.queue.accepted import as_stored
from app.queue.doubt import OnDoubt
from app.queue.embedded import EmbeddedEngine
from app.queue.engine import Priority
from app.queue.lookup import find_message
from app.queue.put import put
from app.queue.schedule import Schedule
from app.services.circuit import CircuitPolicy, Fault, open_circuit
from app.services.models import Service
from app.templates.content import TemplateContent, UsedTemplate
from tests.factories import NOW, after, new_message

EVERYWHERE = ServiceScope(all=True, service_ids=frozenset())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"subject": None, "metadata": {"order": [1, 2.5, {"ü": None}], "a": "b"}, "tags": ("a", "ü")},
        {"schedule": Schedule(after(60), after(120), Priority.HIGH), "on_doubt": OnDoubt.FAIL},
        {"template": UsedTemplate(new_key(), "welcome", 3, TemplateContent())},
    ],
)
async def test_a_mail_as_it_was_put_is_the_row_that_it_became(
    service: Service, principal: Principal, engine: EmbeddedEngine, fields: dict[str, Any]
) -> None:
    receipt = await put(new_message(service, principal, **fields), after(0.25), engine)
    assert receipt.accepted is not None
    assert receipt.accepted_at is not None
    told = as_stored(receipt.accepted, receipt.accepted_at)
    assert told._replace(tags=list(told.tags)) == await find_message(receipt.message_id, EVERYWHERE)


async def test_a_mail_that_failed_at_once_has_to_be_read(
    service: Service, principal: Principal, engine: EmbeddedEngine
) -> None:
    await open_circuit(service.id, service.version, Fault("No."), NOW, CircuitPolicy(), probing=False)
    receipt = await put(new_message(service, principal, verdict_awaited=True), NOW, engine)
    assert receipt.accepted is None
