"""By which fallbacks a mail may leave is decided when it is accepted."""

from typing import Any
from uuid import UUID

import pytest

from app.access.check import GrantValues
from app.access.restrictions import Restrictions
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.queue.route import keys_of
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from app.submission.test_mail import make_test_mail
from tests.factories import NOW, make_principal, make_service, message_row
from tests.templates.stored import make

SEND = ("SEND",)
DRAFT = Draft(to=(Mailbox("bob@x.example"),), subject="Hello", text="text", from_email="ada@a.example")


def grant(service: str | None, **restrictions: Any) -> GrantValues:
    return GrantValues(service, SEND, Restrictions(**restrictions))


GRANTS = {
    "for all services": ([grant(None)], True),
    "for both": ([grant("own"), grant("other")], True),
    "for the own one": ([grant("own")], False),
    "for all, but other things for the fallback": ([grant(None), GrantValues("other", ("READ_MESSAGES",))], False),
    "for another sender": ([grant("own"), grant("other", allowed_senders=("*@b.example",))], False),
    "for this sender": ([grant("own"), grant("other", allowed_senders=("*@a.example",))], True),
    "for other recipients": ([grant("own"), grant("other", denied_recipients=("*@x.example",))], False),
}


@pytest.mark.parametrize("case", GRANTS)
async def test_a_fallback_needs_a_grant_that_covers_the_very_mail(
    case: str, submitter: Submitter, sqlite_database: Settings
) -> None:
    other = await make_service("other")
    await make_service("own", fallbacks=[str(other.id)])
    grants, is_allowed = GRANTS[case]
    assert await allowed(submitter, grants, DRAFT) == ((other.id,) if is_allowed else ())


async def test_mail_composed_with_raw_values_does_not_leave_where_a_grant_wants_them_escaped(
    submitter: Submitter, sqlite_database: Settings
) -> None:
    other = await make_service("other")
    await make_service("own", fallbacks=[str(other.id)])
    template = await make("t", 1, subject="Hello", html="{x}")
    draft = Draft(to=DRAFT.to, from_email=DRAFT.from_email, template="t", variables={"x": "<b>"})
    bound = {"templates": (template.id,)}
    assert await allowed(submitter, [grant("own"), grant("other", **bound)], draft) == ()
    assert await allowed(submitter, [grant("own", **bound), grant("other", **bound)], draft, "second") == (other.id,)


async def test_a_test_mail_tells_of_its_own_service_alone(submitter: Submitter, sqlite_database: Settings) -> None:
    other = await make_service("other")
    await make_service("own", fallbacks=[str(other.id)], from_email="ada@a.example")
    principal = await make_principal()
    submission = await make_test_mail("own", "bob@x.example", principal, sqlite_database, NOW)
    receipt = await submitter.submit(submission)
    assert (await message_row(receipt.message_id))["fallbacks"] is None


async def allowed(
    submitter: Submitter, grants: list[GrantValues], draft: Draft, role: str = "mailer"
) -> tuple[UUID, ...]:
    principal = await make_principal(role, grants)
    receipt = await submitter.submit(Submission("own", draft, principal))
    return keys_of((await message_row(receipt.message_id))["fallbacks"])
