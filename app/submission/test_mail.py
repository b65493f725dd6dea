"""A mail that shows whether a service works."""

import html
from dataclasses import dataclass
from datetime import datetime

from app.access.policy import sees_service
from app.access.principal import Principal
from app.database.key import new_key
from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.services.manage import find_service
from app.services.models import Service, ServiceKind
from app.settings import Settings
from app.submission.author import resolve_author
from app.submission.prepare import Submission, message_id_for


@dataclass(frozen=True, slots=True)
class Facts:
    """What the mail tells. `server`: None for who may not see the service's settings."""

    service: str
    server: str | None
    moment: datetime
    message_id: str | None


async def make_test_mail(
    service_name: str, to: str, principal: Principal, settings: Settings, moment: datetime
) -> Submission:
    """The submission of a test mail to `to`, which leaves by this service or not at all; whether it may be sent is for
    `submit` to say, as with any other."""
    service, key = await find_service(service_name), new_key()
    name = service.name if service else service_name
    server, message_id = None, None
    if service is not None:
        sender = resolve_author(Draft(), service, settings).sender
        message_id = message_id_for(key, sender) if sender else None
        server = _server(service) if sees_service(principal, service.id) else None
    draft = draft_test_mail(to, Facts(name, server, moment, message_id))
    return Submission(name, draft, principal, key=key, with_fallbacks=False)


def draft_test_mail(to: str, facts: Facts) -> Draft:
    """The mail: text, and the same as html. Pure."""
    lines = [("Service", facts.service), ("Server", facts.server), ("Time", f"{facts.moment:%Y-%m-%d %H:%M:%S} UTC")]
    told = [(name, value) for name, value in (*lines, ("Message-ID", facts.message_id)) if value]
    greeting = f"Hello! This is a test of the service {facts.service}, and it has arrived."
    farewell = "There is nothing to do: somebody asked Heliograph for it, to see whether mail leaves."
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(value)}</td></tr>" for name, value in told)
    return Draft(
        to=(Mailbox(to),),
        subject=f"Test of the service {facts.service}",
        text="\n".join([greeting, "", *(f"{name}: {value}" for name, value in told), "", farewell, ""]),
        html=f"<p>{html.escape(greeting)}</p><table>{rows}</table><p>{farewell}</p>",
    )


def _server(service: Service) -> str:
    if service.kind == ServiceKind.SANDBOX:
        return "the built-in inbox"
    return f"{service.host}, port {service.port}, encryption {service.encryption}"
