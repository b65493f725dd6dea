"""The previewEmail query."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Self

import strawberry

from app.access.mail_policy import MailRule
from app.errors import Refusal
from app.graphql.context import Info
from app.graphql.send_email import SendEmailInput, as_input, input_path, read_submission
from app.graphql.types import RecipientKind, UserError, user_errors
from app.mail.lint.finding import Finding, LintCode, LintSeverity
from app.submission.preview import JudgedRecipient, Preview

strawberry.enum(
    LintSeverity,
    description="ERROR: the mail does not arrive, or not as meant. WARNING: it may not, or readers suffer. INFO: good"
    " to know.",
)
strawberry.enum(LintCode, description="What can be found in a mail. Codes are stable.")


@strawberry.type(description="One thing that a mail engineer would say about the mail.")
class LintFinding:
    code: LintCode = strawberry.field(description="Stable, for programs.")
    severity: LintSeverity = strawberry.field(description="How bad it is. None of them keeps sendEmail from accepting.")
    message: str = strawberry.field(description="One sentence for people.")
    field: list[str] | None = strawberry.field(
        description="Path from the input's root to what it is about; null for the mail as a whole."
    )

    @classmethod
    def of(cls, found: Finding) -> Self:
        return cls(
            code=found.code,
            severity=found.severity,
            message=found.message,
            field=list(input_path(found.field)) or None,
        )


@strawberry.enum(description="What the role's grants say of a mail to one recipient.")
class Verdict(Enum):
    ALLOWED = "ALLOWED"
    REFUSED = "REFUSED"


@strawberry.type(description="One recipient that the mail would have: each mailbox once, however often it is named.")
class PreviewRecipient:
    kind: RecipientKind = strawberry.field(description="To, Cc or Bcc.")
    email: str = strawberry.field(description="The address, as the author wrote it.")
    name: str | None = strawberry.field(description="The display name.")
    address: str = strawberry.field(description="The address as RCPT carries it.")
    verdict: Verdict = strawberry.field(description="Whether the role may send to it.")
    rule: MailRule | None = strawberry.field(description="The rule that forbids it.")
    message: str | None = strawberry.field(description="What the refusal says.")

    @classmethod
    def of(cls, judged: JudgedRecipient) -> Self:
        recipient, broken = judged.recipient, judged.broken
        return cls(
            kind=RecipientKind(recipient.kind),
            email=recipient.email,
            name=recipient.name,
            address=recipient.address,
            verdict=Verdict.REFUSED if broken else Verdict.ALLOWED,
            rule=broken.rule if broken else None,
            message=broken.message if broken else None,
        )


@strawberry.type(description="A mail as it would leave now.")
class EmailPreview:
    source: str = strawberry.field(
        description="What the SMTP server would get, octet for octet: header section and MIME parts, with CRLF, signed"
        " where the mail that leaves is. Only Message-ID, Date and what follows from them differ from one mail to the"
        " next."
    )
    truncated: bool = strawberry.field(
        description="Whether source, text or html is cut, each behind HELIOGRAPH_MAX_PREVIEW_CHARS characters."
    )
    size_bytes: int = strawberry.field(description="The size of the whole mail in octets.")
    server_size_limit: float | None = strawberry.field(
        description="The most that the service's server takes, in octets: what it announced (SIZE, RFC 1870) when a"
        " worker last talked to it. Null where none did, or it announces none."
    )
    message_id_header: str = strawberry.field(description="A Message-ID as sendEmail would make one.")
    date: datetime = strawberry.field(description="Its Date.")
    reverse_path: str = strawberry.field(description="Where bounces go: the address that MAIL carries.")
    recipients: list[PreviewRecipient] = strawberry.field(description="To, then Cc, then Bcc.")
    subject: str | None = strawberry.field(description="The subject, its placeholders filled.")
    text: str | None = strawberry.field(description="The text part, its placeholders filled.")
    text_from_html: bool = strawberry.field(description="Whether the text was made from the html.")
    html: str | None = strawberry.field(description="The html part, its placeholders filled.")
    lint: list[LintFinding] = strawberry.field(description="What there is to say about the mail, the worst first.")

    @classmethod
    def of(cls, preview: Preview, most: int) -> Self:
        prepared = preview.prepared
        draft = prepared.draft
        parts = (preview.content, draft.text or "", draft.html or "")
        return cls(
            source=preview.content[:most].decode("utf-8", "ignore"),
            truncated=any(len(part) > most for part in parts),
            size_bytes=len(preview.content),
            server_size_limit=preview.size_limit,
            message_id_header=prepared.message_id_header,
            date=prepared.date,
            reverse_path=prepared.envelope.reverse_path,
            recipients=[PreviewRecipient.of(judged) for judged in preview.recipients],
            subject=draft.subject,
            text=draft.text[:most] if draft.text else None,
            text_from_html=preview.automatic_text,
            html=draft.html[:most] if draft.html else None,
            lint=[LintFinding.of(found) for found in preview.findings],
        )


@strawberry.type(description="The preview, and why sendEmail would refuse the mail.")
class PreviewEmailPayload:
    preview: EmailPreview | None = strawberry.field(
        description="The mail; also one that only the role's grants forbid. Null where anything else is wrong."
    )
    user_errors: list[UserError] = strawberry.field(
        description="What sendEmail would refuse; empty where it would accept."
    )


async def preview_email(
    info: Info, input: Annotated[SendEmailInput, strawberry.argument(description="The mail, as for sendEmail.")]
) -> PreviewEmailPayload:
    """What sendEmail would make of this input, by the same steps. Nothing is stored, sent, or counted in a rate limit;
    idempotencyKey and waitSeconds have no effect. Needs SEND with the service."""
    try:
        submission = await read_submission(info.context, input, await info.context.principal())
        preview = await info.context.parts.submitter.preview(submission)
    except Refusal as refusal:
        return PreviewEmailPayload(preview=None, user_errors=user_errors(as_input(refusal)))
    shown = EmailPreview.of(preview, info.context.parts.settings.max_preview_chars)
    refused = user_errors(as_input(preview.refusal)) if preview.refusal else []
    return PreviewEmailPayload(preview=shown, user_errors=refused)
