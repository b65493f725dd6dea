"""THE use case behind both doors: Draft in, Receipt or refusal out."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from app.access.client_address import client_subject
from app.access.mail_policy import AskedMail, Path, require_mail, restrictions
from app.access.policy import require
from app.access.principal import Action, Principal
from app.access.quota import Quota, quotas_of
from app.access.restrictions import NO_RESTRICTIONS
from app.clock import now
from app.database.finish import finish
from app.database.key import new_key
from app.errors import ErrorCode, Forbidden, InvalidInput, TooLarge
from app.mail.address import Mailbox, wire_address
from app.mail.check import check_draft
from app.mail.compose import compose
from app.mail.draft import Draft, DraftLimits
from app.mail.envelope import Envelope, EnvelopeRecipient, envelope_recipients, make_envelope
from app.mail.placeholders import fill
from app.outbound.fetch import Fetcher
from app.queue.doubt import OnDoubt
from app.queue.engine import Engine
from app.queue.put import Idempotency, NewMessage, Receipt, find_receipt, put
from app.queue.schedule import AT_ONCE, Schedule, check_schedule
from app.queue.wakeup import Wakeup
from app.services.environment import check_default_sender
from app.services.manage import find_service
from app.services.models import Service
from app.services.secret import address_secret
from app.settings import Settings
from app.submission.author import resolve_sender
from app.submission.digest import digest_request, key_of_page
from app.submission.links import attach_links
from app.submission.permission import (
    asked_mail,
    escape_variables,
    fix_recipients,
    no_such_service,
    permitted_fallbacks,
    permitted_template,
)
from app.templates.content import UsedTemplate, apply_template, check_values

MAX_IDEMPOTENCY_KEY_CHARS = 256
MAX_MESSAGE_ID_DOMAIN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Submission:
    """What a door asks for. `verdict_wanted`: the client waits for the first attempt, and a server that cannot be
    talked to then fails the mail instead of deferring it; unless the service answers at once (`respond_async`).
    `values_required`: a template's required variables without a value, and values of another type, are refused; else
    they are left as they are."""

    service_name: str
    draft: Draft
    principal: Principal
    idempotency_key: str | None = None
    verdict_wanted: bool = False
    schedule: Schedule = AT_ONCE
    on_doubt: OnDoubt = OnDoubt.RETRY
    values_required: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A draft that passed every guard, composed."""

    sender: Mailbox
    subject: str | None
    recipients: tuple[EnvelopeRecipient, ...]
    envelope: Envelope
    message_id_header: str
    content: bytes


class Submitter:
    """Submits mail for the doors of one process. Raises SettingsError if MAIL_FROM_* cannot stand in a mail."""

    def __init__(self, settings: Settings, engine: Engine, wakeup: Wakeup) -> None:
        check_default_sender(settings)
        self._settings = settings
        self._engine = engine
        self._wakeup = wakeup
        self._limits = DraftLimits.of(settings)
        self._fetcher = Fetcher(settings)

    async def submit(self, submission: Submission) -> Receipt:
        """Accept the mail durably, or raise a Refusal that names everything that is wrong; nothing in between.

        Forbidden, NotFound, Conflict, InvalidInput, TooLarge: as the guard steps below say; RateLimited: as put does. A
        problem's field is the path as the Draft or the Schedule names it, `service` or `idempotency_key`:
        ("from_email",), ("attachments", "0", "content").
        """
        service = await self._permitted_service(submission)
        is_shown = submission.principal.browser is None
        awaited = submission.verdict_wanted and not service.respond_async and is_shown
        moment = now()
        idempotency = await self._idempotency(submission, moment)
        if idempotency is not None:
            earlier = await find_receipt(submission.principal.role_id, idempotency)
            if earlier is not None:
                return replace(earlier, verdict_awaited=awaited, is_shown=is_shown)
        template = await permitted_template(submission.draft, submission.principal, service.id)
        given = submission
        submission = await self._permitted_mail(given, service, template)
        fallbacks = await self._fallbacks(given, submission.draft, service, template)
        draft = await attach_links(submission.draft, self._fetcher, self._settings.max_attachments)
        submission = replace(submission, draft=draft)
        key = new_key()
        prepared = await asyncio.to_thread(self._prepare, submission, service, template, key, moment)
        message = _new_message(key, submission, service, prepared, template, idempotency)
        quotas = self.quotas(submission.principal, service.id, service.name)
        message = replace(message, verdict_awaited=awaited, quotas=quotas, fallbacks=fallbacks)
        receipt = await finish(put(message, now(), self._engine))
        self._wakeup.work_arrived()
        return replace(receipt, verdict_awaited=awaited, is_shown=is_shown)

    def quotas(self, principal: Principal, service_id: UUID | None, service_name: str = "") -> tuple[Quota, ...]:
        """What limits the principal's mail through this service; None: through any service."""
        client = None
        if principal.browser is not None:
            prefix = self._settings.client_ipv6_prefix
            client = client_subject(self._address_secret, principal.api_key_id, principal.origin, prefix)
        return quotas_of(principal, service_id, service_name, client)

    @cached_property
    def _address_secret(self) -> bytes:
        return address_secret(self._settings)

    async def _permitted_service(self, submission: Submission) -> Service:
        """The role is asked before the service's existence shows."""
        name, principal = submission.service_name, submission.principal
        service = await find_service(name)
        require(principal, Action.SEND, service.id if service else None)
        if service is None:
            raise no_such_service(name)
        if not service.is_active:
            raise Forbidden(
                f"Service {service.name} is deactivated.", code=ErrorCode.SERVICE_INACTIVE, field=("service",)
            )
        return service

    async def _permitted_mail(
        self, submission: Submission, service: Service, template: UsedTemplate | None
    ) -> Submission:
        """With what comes from the template filled in. The role is asked before any file is fetched for the mail."""
        draft, principal = submission.draft, submission.principal
        if template is not None:
            draft = apply_template(draft, template.content)
        draft = fix_recipients(draft, principal)
        if restrictions(principal, service.id) != NO_RESTRICTIONS:
            mail = self._asked_mail(submission, draft, service, template)
            await asyncio.to_thread(require_mail, principal, service.id, mail)
            draft = escape_variables(draft) if restrictions(principal, service.id).templates else draft
        return replace(submission, draft=draft)

    async def _fallbacks(
        self, given: Submission, draft: Draft, service: Service, template: UsedTemplate | None
    ) -> tuple[UUID, ...]:
        """The service's fallbacks with which the role may send this very mail, too."""
        if not service.fallbacks:
            return ()
        mail = self._asked_mail(given, draft, service, template)
        return await asyncio.to_thread(permitted_fallbacks, given.principal, service, mail)

    def _asked_mail(
        self, given: Submission, draft: Draft, service: Service, template: UsedTemplate | None
    ) -> AskedMail:
        sender, reply_to, _ = resolve_sender(draft, service, self._settings)
        mail = asked_mail(given.draft, draft, sender, reply_to, template, self._limits.max_recipients)
        return replace(mail, own_fields=(*mail.own_fields, *_own_terms(given)))

    async def _idempotency(self, submission: Submission, moment: datetime) -> Idempotency | None:
        key = submission.idempotency_key
        if key is None:
            return None
        if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS or not key.isprintable():
            raise InvalidInput(
                f"An idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable characters.",
                field=("idempotency_key",),
            )
        digest = await asyncio.to_thread(
            digest_request, submission.service_name, submission.draft, submission.schedule, submission.on_doubt
        )
        stored = key_of_page(submission.principal, key) if submission.principal.browser else key
        return Idempotency(stored, digest, moment - timedelta(seconds=self._settings.idempotency_ttl), named=key)

    def _prepare(
        self, submission: Submission, service: Service, template: UsedTemplate | None, key: UUID, moment: datetime
    ) -> Prepared:
        draft = submission.draft
        unfit = check_values(draft, template) if template and submission.values_required else ()
        sender, reply_to, missing = resolve_sender(draft, service, self._settings)
        filled = fill(draft, self._limits, _sender_fields(sender, reply_to))
        ill_timed = check_schedule(submission.schedule, moment, self._settings.max_schedule_ahead)
        problems = (*unfit, *check_draft(filled, self._limits), *missing, *ill_timed)
        if problems:
            raise InvalidInput(problems=problems)
        assert sender is not None, "a draft without a sender has a problem"
        header = _message_id(key, sender)
        content = compose(filled, sender=sender, reply_to=reply_to, message_id=header, date=moment)
        settings, of_page = self._settings, submission.principal.browser is not None
        most = settings.max_browser_message_bytes if of_page else settings.max_message_bytes
        if len(content) > most:
            raise TooLarge(f"The composed mail has {len(content)} bytes; the limit is {most}.")
        envelope = make_envelope(sender.email, filled, sender=sender, reply_to=reply_to)
        return Prepared(sender, filled.subject, envelope_recipients(filled), envelope, header, content)


def _own_terms(submission: Submission) -> Iterator[Path]:
    """The fields in which the author says when the mail leaves, and what becomes of it in doubt."""
    schedule = submission.schedule
    terms = {name: getattr(schedule, name) != getattr(AT_ONCE, name) for name in ("send_at", "expires_at", "priority")}
    terms["on_doubt"] = submission.on_doubt is not OnDoubt.RETRY
    yield from ((name,) for name, given in terms.items() if given)


def _message_id(key: UUID, sender: Mailbox) -> str:
    """A msg-id (RFC 5322 section 3.6.4) on the sender's domain; of a very long one, on the end of it."""
    domain = wire_address(sender.email).rpartition("@")[2]
    while len(domain) > MAX_MESSAGE_ID_DOMAIN_CHARS:
        domain = domain.partition(".")[2]
    return f"<{key.hex}@{domain}>"


def _sender_fields(sender: Mailbox | None, reply_to: Mailbox | None) -> dict[str, str | None]:
    """What {from_name} and its like stand for."""
    fields = {"from": sender, "reply_to": reply_to}
    emails = {f"{name}_email": mailbox.email for name, mailbox in fields.items() if mailbox}
    return emails | {f"{name}_name": mailbox.name for name, mailbox in fields.items() if mailbox}


def _new_message(
    key: UUID,
    submission: Submission,
    service: Service,
    prepared: Prepared,
    template: UsedTemplate | None,
    idempotency: Idempotency | None,
) -> NewMessage:
    return NewMessage(
        id=key,
        service_id=service.id,
        service_name=service.name,
        role_id=submission.principal.role_id,
        api_key_id=submission.principal.api_key_id,
        message_id_header=prepared.message_id_header,
        reverse_path=prepared.envelope.reverse_path,
        smtputf8=prepared.envelope.smtputf8,
        sender=prepared.sender,
        subject=prepared.subject,
        recipients=prepared.recipients,
        content=prepared.content,
        template=template,
        metadata=submission.draft.metadata,
        tags=submission.draft.tags,
        schedule=submission.schedule,
        on_doubt=submission.on_doubt,
        idempotency=idempotency,
    )
