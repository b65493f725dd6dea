"""What the role is asked about a mail: the sender, the recipients and the template that it would have."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from msgspec import structs

from app.access.mail_policy import AskedMail, Path, Violation, restrictions, violations
from app.access.policy import allows
from app.access.principal import Action, Principal
from app.errors import ErrorCode, InvalidInput, NotFound, TooLarge
from app.mail.address import Mailbox, check_email, mailbox_key
from app.mail.characters import shown
from app.mail.draft import Draft
from app.services.manage import find_service
from app.services.models import Service
from app.settings import Settings
from app.submission.author import Author, resolve_author
from app.templates.content import RECIPIENT_FIELDS, UsedTemplate, apply_template
from app.templates.find import find_used_template

_CONTENT_FIELDS = ("subject", "text", "html", "attachments", "headers", "unsubscribe")
_SENDER_FIELDS = ("from_email", "from_name", "reply_to_email", "reply_to_name")
_OWN_FIELDS = (*RECIPIENT_FIELDS, *_SENDER_FIELDS, "metadata", "tags")


@dataclass(frozen=True, slots=True)
class MailQuestion:
    """A mail that nobody sends: may it be sent? `template`: name or id; `reply_to` None: the default, as for a mail."""

    service_name: str
    sender: str
    to: tuple[str, ...]
    template: str | None = None
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class MailAnswer:
    """The rules that the mail would break, of those that it was held to; none: it may be sent."""

    mail: AskedMail
    violations: tuple[Violation, ...]


async def answer(question: MailQuestion, principal: Principal, settings: Settings) -> MailAnswer:
    """What the policy says of the mail; nothing is stored or sent.

    Raises InvalidInput, TooLarge; and, where the role may send with the service at all, NotFound for the service and
    the template, as submitting does.
    """
    _check_question(question, settings.max_recipients)
    service = await find_service(question.service_name)
    asked = AskedMail(question.sender, tuple((("to", str(n)), email) for n, email in enumerate(question.to)))
    if not allows(principal, Action.SEND, service.id if service else None):
        return MailAnswer(asked, violations(principal, service.id if service else None, asked))
    if service is None:
        raise no_such_service(question.service_name)
    given = Draft(
        to=tuple(map(Mailbox, question.to)),
        from_email=question.sender,
        reply_to_email=question.reply_to,
        template=question.template,
    )
    template = await permitted_template(given, principal, service.id)
    if principal.browser is not None:
        given = _without_fixed_sender(given, service, template, settings)
    draft = fix_recipients(apply_template(given, template.content) if template else given, principal)
    author = resolve_author(draft, service, settings)
    mail = asked_mail(given, draft, author, template, settings.max_recipients)
    found = await asyncio.to_thread(violations, principal, service.id, mail)
    if principal.browser is not None:  # whose fixed recipients are not for everybody to read
        return MailAnswer(replace(asked, recipients=tuple((("to",), email) for email in question.to)), found)
    return MailAnswer(mail, found)


def _without_fixed_sender(given: Draft, service: Service, template: UsedTemplate | None, settings: Settings) -> Draft:
    """The question names a sender in any case: the one that mail of a browser key has counts as left out."""
    unsigned = structs.replace(given, from_email=None)
    if template is None:
        return unsigned
    fixed = resolve_author(apply_template(unsigned, template.content), service, settings).sender
    same = fixed and not check_email(fixed.email) and mailbox_key(fixed.email) == mailbox_key(given.from_email or "")
    return unsigned if same else given


def no_such_service(name: str) -> NotFound:
    """Says so to who might send with it."""
    return NotFound(f"Could not find a service for {shown(name)}", code=ErrorCode.SERVICE_NOT_FOUND, field=("service",))


async def permitted_template(draft: Draft, principal: Principal, service_id: UUID) -> UsedTemplate | None:
    """The template that the draft names; None where it names none.

    Raises NotFound TEMPLATE_NOT_FOUND. A role with templates of its own does not learn which others there are: any
    other one, and any other name, is None to it, and refused as such.
    """
    if draft.template is None and draft.template_id is None:
        return None
    own = restrictions(principal, service_id).templates
    try:
        found = await find_used_template(draft)
    except NotFound:
        if own:
            return None
        raise
    return found if found and (not own or found.id in own) else None


def asked_mail(
    given: Draft, draft: Draft, author: Author, template: UsedTemplate | None, max_recipients: int
) -> AskedMail:
    """What the role is asked about: `given` as the author wrote it, `draft` with what comes from the template.

    Of more than `max_recipients`, the first so many: such a mail is refused in any case.
    """
    recipients = tuple(
        ((field, str(index), "email"), mailbox.email)
        for field in RECIPIENT_FIELDS
        for index, mailbox in enumerate(getattr(draft, field))
    )
    return AskedMail(
        sender=author.sender.email if author.sender else None,
        recipients=recipients[:max_recipients],
        reply_to=author.reply_to.email if author.reply_to else None,
        template_id=template.id if template else None,
        template_path=_template_path(given),
        own_content=tuple(_own_content(given)),
        own_fields=tuple((name,) for name in _OWN_FIELDS if getattr(given, name) not in (None, (), {})),
    )


def fix_recipients(draft: Draft, principal: Principal) -> Draft:
    """The draft with the recipients of a browser key, where it has some: nobody else gets the mail."""
    if principal.browser is None or not principal.browser.recipients:
        return draft
    return structs.replace(draft, to=tuple(map(Mailbox, principal.browser.recipients)), cc=(), bcc=())


def escape_variables(draft: Draft) -> Draft:
    """The draft with its variables among the template data: raw ones would bring HTML that is in no template."""
    return structs.replace(draft, template_data={**draft.variables, **draft.template_data}, variables={})


def permitted_fallbacks(principal: Principal, service: Service, mail: AskedMail) -> tuple[UUID, ...]:
    """Those fallbacks of the service with which the principal may send this mail, in their order.

    A grant with templates wants the mail's values escaped: the mail is composed once, for its own service.
    """
    escaped = bool(restrictions(principal, service.id).templates)
    return tuple(
        key
        for key in map(UUID, service.fallbacks or ())
        if not violations(principal, key, mail) and (escaped or not restrictions(principal, key).templates)
    )


def _template_path(draft: Draft) -> Path:
    return ("template_id",) if draft.template is None and draft.template_id is not None else ("template",)


def _own_content(draft: Draft) -> Iterator[Path]:
    yield from ((name,) for name in _CONTENT_FIELDS if getattr(draft, name) not in (None, ()))
    yield from (link.path for link in draft.links)


def _check_question(question: MailQuestion, max_recipients: int) -> None:
    if len(question.to) > max_recipients:
        message = f"to has {len(question.to)} recipients; the limit is {max_recipients}."
        raise TooLarge(message, field=("to",))
    places = [(("from",), question.sender), *((("to", str(n)), email) for n, email in enumerate(question.to))]
    if question.reply_to is not None:
        places.append((("replyTo",), question.reply_to))
    problems = [replace(problem, field=path) for path, email in places if (problem := check_email(email))]
    if problems:
        raise InvalidInput(problems=problems)
