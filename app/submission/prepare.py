"""The guard steps before anything is stored, the same for a mail that is to be sent and for one that is looked at."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from msgspec import Struct, structs

from app.access.mail_policy import AskedMail, Path
from app.access.policy import require
from app.access.principal import Action, Principal
from app.access.restrictions import Restrictions
from app.errors import ErrorCode, Forbidden, InvalidInput, Problem, TooLarge
from app.mail.address import Mailbox, wire_address
from app.mail.check import check_draft
from app.mail.compose import lay_out
from app.mail.content import Composed
from app.mail.draft import Draft, DraftLimits
from app.mail.envelope import Envelope, EnvelopeRecipient, envelope_recipients, make_envelope
from app.mail.placeholders import fill, may_be_filled
from app.mail.plain_text import text_of
from app.queue.doubt import OnDoubt
from app.queue.schedule import AT_ONCE, Schedule, check_schedule
from app.services.known_services import KnownServices
from app.services.manage import find_service
from app.services.models import Service
from app.settings import Settings
from app.submission.author import Author
from app.submission.permission import asked_mail, escape_variables, fix_recipients, no_such_service
from app.templates.content import UsedTemplate, apply_template, check_values

MAX_MESSAGE_ID_DOMAIN_CHARS = 200


class Submission(Struct, frozen=True):
    """What a door asks for. `verdict_wanted`: the client waits for the first attempt, and a server that cannot be
    talked to then fails the mail instead of deferring it; unless the service answers at once (`respond_async`).
    `values_required`: a template's required variables without a value, and values of another type, are refused; else
    they are left as they are. `text_from_html`: a mail that has html and no text gets one made from it. `key`: that of
    the message, where its author has to know it before. `with_fallbacks`: it may leave by those of the service, too."""

    service_name: str
    draft: Draft
    principal: Principal
    idempotency_key: str | None = None
    verdict_wanted: bool = False
    schedule: Schedule = AT_ONCE
    on_doubt: OnDoubt = OnDoubt.RETRY
    values_required: bool = False
    text_from_html: bool = False
    key: UUID | None = None
    with_fallbacks: bool = True


class Prepared(Struct, frozen=True):
    """A draft that passed every guard, composed. `draft`: with its placeholders filled, and the text that it got.
    `content`: in memory only where it is no larger than a slice of stored content."""

    draft: Draft
    sender: Mailbox
    reply_to: Mailbox | None
    recipients: tuple[EnvelopeRecipient, ...]
    envelope: Envelope
    message_id_header: str
    date: datetime
    content: bytes | Composed


async def permitted_service(name: str, principal: Principal, known: KnownServices | None = None) -> Service:
    """The service of this name, active, with which the role may send. Raises Forbidden, NotFound.

    The role is asked before the service's existence shows. One of the `known` is as of the principal's revision.
    """
    if known is None or principal.revision is None:
        service = await find_service(name)
    else:
        service = await known.named(name, principal.revision)
    require(principal, Action.SEND, service.id if service else None)
    if service is None:
        raise no_such_service(name)
    if not service.is_active:
        raise Forbidden(f"Service {service.name} is deactivated.", code=ErrorCode.SERVICE_INACTIVE, field=("service",))
    return service


class Preparer:
    """Makes drafts into mail, by the settings of one process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = DraftLimits.of(settings)
        most = min(settings.max_body_chars, settings.max_browser_message_bytes)
        self._limits_of_pages = replace(self._limits, max_body_chars=most)

    def apply(self, submission: Submission, rules: Restrictions, template: UsedTemplate | None) -> Submission:
        """With what comes from the template filled in, and the recipients of a browser key."""
        draft, principal = submission.draft, submission.principal
        draft = fix_recipients(apply_template(draft, template.content) if template else draft, principal)
        draft = escape_variables(draft) if rules.templates else draft
        return submission if draft is submission.draft else structs.replace(submission, draft=draft)

    def asked(self, given: Submission, applied: Submission, author: Author, template: UsedTemplate | None) -> AskedMail:
        """What the role is to be asked about a mail: `given` as the author wrote it, and `applied`."""
        mail = asked_mail(given.draft, applied.draft, author, template, self._limits.max_recipients)
        return replace(mail, own_fields=(*mail.own_fields, *_own_terms(given)))

    def prepare(
        self, submission: Submission, author: Author, template: UsedTemplate | None, key: UUID, moment: datetime
    ) -> Prepared:
        """The mail that leaves, with this key in its Message-ID and this moment as its Date. The same arguments give
        the same octets. Raises InvalidInput with everything that is wrong, TooLarge."""
        draft = submission.draft
        unfit = check_values(draft, template) if template and submission.values_required else ()
        sender, reply_to = author.sender, author.reply_to
        of_page = submission.principal.browser is not None
        limits = self._limits_of_pages if of_page else self._limits
        filled = fill(draft, limits, sender_fields(sender, reply_to)) if may_be_filled(draft) else draft
        ill_timed = self._ill_timed(submission.schedule, moment)
        problems = (*unfit, *check_draft(filled, limits, author_is_sound=author.is_sound), *author.missing, *ill_timed)
        if problems:
            raise InvalidInput(problems=problems)
        assert sender is not None, "a draft without a sender has a problem"
        filled = self._with_text(filled) if submission.text_from_html else filled
        header = message_id_for(key, sender)
        content = lay_out(filled, sender=sender, reply_to=reply_to, message_id=header, date=moment)
        most = self._settings.max_browser_message_bytes if of_page else self._settings.max_message_bytes
        size = len(content)
        if size > most:
            raise TooLarge(f"The composed mail has {size} bytes; the limit is {most}.")
        recipients = envelope_recipients(filled)
        envelope = make_envelope(sender.email, filled, sender=sender, reply_to=reply_to, recipients=recipients)
        final = content if size > self._settings.content_slice_bytes else content.whole()
        return Prepared(filled, sender, reply_to, recipients, envelope, header, moment, final)

    def _ill_timed(self, schedule: Schedule, moment: datetime) -> tuple[Problem, ...]:
        if schedule.send_at is None and schedule.expires_at is None:
            return ()
        return check_schedule(schedule, moment, self._settings.max_schedule_ahead)

    def _with_text(self, draft: Draft) -> Draft:
        """An empty text says that there shall be none."""
        most = self._settings.automatic_text_max_html_chars
        if draft.text is not None or not draft.html or len(draft.html) > most:
            return draft
        text = text_of(draft.html)
        return structs.replace(draft, text=text) if 0 < len(text) <= self._limits.max_body_chars else draft


def sender_fields(sender: Mailbox | None, reply_to: Mailbox | None) -> dict[str, str | None]:
    """What {from_name} and its like stand for."""
    fields = {"from": sender, "reply_to": reply_to}
    emails = {f"{name}_email": mailbox.email for name, mailbox in fields.items() if mailbox}
    return emails | {f"{name}_name": mailbox.name for name, mailbox in fields.items() if mailbox}


def _own_terms(submission: Submission) -> Iterator[Path]:
    """The fields in which the author says when the mail leaves, and what becomes of it in doubt."""
    schedule = submission.schedule
    terms = {name: getattr(schedule, name) != getattr(AT_ONCE, name) for name in ("send_at", "expires_at", "priority")}
    terms["on_doubt"] = submission.on_doubt is not OnDoubt.RETRY
    yield from ((name,) for name, given in terms.items() if given)


def message_id_for(key: UUID, sender: Mailbox) -> str:
    """The Message-ID of the message with this key: a msg-id (RFC 5322 section 3.6.4) on the sender's domain; of a very
    long one, on the end of it."""
    return f"<{key.hex}@{_message_id_domain(sender.email)}>"


@lru_cache(maxsize=1024)
def _message_id_domain(email: str) -> str:
    domain = wire_address(email).rpartition("@")[2]
    while len(domain) > MAX_MESSAGE_ID_DOMAIN_CHARS:
        domain = domain.partition(".")[2]
    return domain
