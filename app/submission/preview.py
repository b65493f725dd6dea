"""What submitting would make of a mail: by the same steps, which end before anything is stored."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec import structs

from app.access.mail_policy import AskedMail, Violation, refusal_of, restrictions, violations
from app.domains.signing import CannotSign, ContentSigner
from app.errors import Forbidden, Refusal
from app.mail.envelope import EnvelopeRecipient
from app.mail.lint.domains import domain_of
from app.mail.lint.finding import Finding, LintLimits, Outgoing
from app.mail.lint.rules import lint
from app.mail.placeholders import unfilled_placeholders
from app.outbound.fetch import Fetcher
from app.services.models import Service, ServiceKind
from app.services.providers import provider_named
from app.settings import Settings
from app.submission.author import resolve_author
from app.submission.links import attach_links
from app.submission.permission import permitted_template
from app.submission.prepare import Prepared, Preparer, Submission, permitted_service, sender_fields


@dataclass(frozen=True, slots=True)
class JudgedRecipient:
    """A recipient, and the rule by which the role may not send to it; None where it may."""

    recipient: EnvelopeRecipient
    broken: Violation | None


@dataclass(frozen=True, slots=True)
class Preview:
    """The mail as it would leave; `content`: its octets, signed. `refusal`: what submitting it would raise, None where
    it would be accepted; some of the `recipients` may be the reason. `automatic_text`: its text was made from the html.
    `size_limit`: the SIZE that the service's server announced, where it is known."""

    prepared: Prepared
    content: bytes
    recipients: tuple[JudgedRecipient, ...]
    refusal: Forbidden | None
    automatic_text: bool
    size_limit: int | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Signed:
    """The mail with its signatures, as a worker signs it. `unsignable`: why it cannot be, though it has to."""

    prepared: Prepared
    content: bytes
    is_signed: bool = False
    unsignable: str | None = None


class Previewer:
    """Previews mail, so many at a time: each may hold a whole mail in memory, several times over. `signer`: what signs
    in the workers; None: nothing does."""

    def __init__(
        self,
        settings: Settings,
        preparer: Preparer,
        fetcher: Fetcher,
        make_key: Callable[[], UUID],
        clock: Callable[[], datetime],
        signer: ContentSigner | None = None,
    ) -> None:
        self._settings = settings
        self._preparer = preparer
        self._fetcher = fetcher
        self._make_key = make_key
        self._clock = clock
        self._signer = signer
        self._limits = LintLimits(
            settings.lint_mail_bytes,
            settings.lint_html_bytes,
            settings.lint_visible_recipients,
            settings.lint_bulk_recipients,
            settings.lint_bulk_tags,
        )
        self._places = asyncio.Semaphore(settings.max_previews)

    async def preview(self, submission: Submission) -> Preview:
        """The mail that would leave, had it this moment's Date and a key of its own. Rate limits and the idempotency
        key are not asked: they say nothing of the mail.

        Raises what submitting would raise; but where all that keeps the mail back is that the role may not send it to
        these recipients, or as this sender, the preview says so. For a mail that the role may not send no file is
        fetched.
        """
        if submission.principal.browser is not None:
            # What its mail looks like, and to whom it goes, is not for everybody to read.
            raise Forbidden("Access Forbidden. The API key of a page sends mail, and previews none.")
        async with self._places:
            service = await permitted_service(submission.service_name, submission.principal)
            template = await permitted_template(submission.draft, submission.principal, service.id)
            applied = self._preparer.apply(submission, restrictions(submission.principal, service.id), template)
            author = resolve_author(applied.draft, service, self._settings)
            mail = self._preparer.asked(submission, applied, author, template)
            broken = await asyncio.to_thread(violations, submission.principal, service.id, mail)
            refusal = refusal_of(broken) if broken else None
            if refusal is None:
                draft = await attach_links(applied.draft, self._fetcher, self._settings.max_attachments)
                applied = structs.replace(applied, draft=draft)
            key, moment = self._make_key(), self._clock()
            try:
                prepared = await asyncio.to_thread(self._preparer.prepare, applied, author, template, key, moment)
            except Refusal:
                if refusal is not None:
                    raise refusal from None
                raise
            signed = await self._signed(prepared, service.host)
            return await asyncio.to_thread(self._preview, applied, service, signed, mail, broken, refusal)

    async def _signed(self, prepared: Prepared, host: str | None) -> _Signed:
        unsigned = await asyncio.to_thread(_whole, prepared)
        if self._signer is None:
            return _Signed(prepared, unsigned)
        try:
            content = await self._signer.sign(unsigned, host)
        except CannotSign as error:
            return _Signed(prepared, unsigned, unsignable=str(error))
        return _Signed(prepared, content, is_signed=content is not unsigned)

    def _preview(
        self,
        applied: Submission,
        service: Service,
        signed: _Signed,
        mail: AskedMail,
        broken: tuple[Violation, ...],
        refusal: Forbidden | None,
    ) -> Preview:
        prepared = signed.prepared
        automatic = applied.draft.text is None and prepared.draft.text is not None
        outgoing = Outgoing(
            draft=prepared.draft,
            sender=prepared.sender,
            reply_to=prepared.reply_to,
            unfilled=unfilled_placeholders(applied.draft, sender_fields(prepared.sender, prepared.reply_to)),
            automatic_text=automatic,
            service_domains=tuple(dict.fromkeys(_domains(service))),
            is_signed=signed.is_signed,
            unsignable=signed.unsignable,
            smtputf8=prepared.envelope.smtputf8,
            size=len(signed.content),
            size_limit=service.announced_size,
        )
        recipients = tuple(_judged(prepared, mail, broken))
        findings = lint(outgoing, self._limits)
        return Preview(prepared, signed.content, recipients, refusal, automatic, service.announced_size, findings)


def _whole(prepared: Prepared) -> bytes:
    """A preview holds the mail in memory, however large it is."""
    return prepared.content if isinstance(prepared.content, bytes) else prepared.content.whole()


def _judged(prepared: Prepared, mail: AskedMail, broken: tuple[Violation, ...]) -> Iterator[JudgedRecipient]:
    by_path = {violation.field: violation for violation in broken}
    by_email = {email: by_path[path] for path, email in mail.recipients if path in by_path}
    for recipient in prepared.recipients:
        yield JudgedRecipient(recipient, by_email.get(recipient.email))


def _domains(service: Service) -> Iterator[str]:
    """The domains that the service is known to send for; a user name tells one only where it is a mailbox."""
    if service.kind != ServiceKind.SMTP:
        return
    provider = provider_named(service.provider)
    username = service.username if provider is None or provider.has_mailboxes else None
    yield from (domain_of(name) for name in (service.from_email, username) if name and "@" in name)
