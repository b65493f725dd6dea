"""Mistakes, in the words of each door."""

from dataclasses import dataclass, field
from typing import Any

LIMITS = {
    "max_attachment_bytes": 2000,
    "max_attachments": 3,
    "max_body_chars": 2000,
    "max_recipients": 10,
    "max_json_depth": 9,
    "max_message_bytes": 7000,
}
"""What the mistakes are over."""

TEMPLATES: list[dict[str, Any]] = [
    {
        "name": "needy",
        "subject": "For {name}",
        "text": "Dear {name}, {count} times.",
        "variables": [{"name": "name", "required": True}, {"name": "count", "type": "NUMBER"}],
    },
    {"name": "needless", "subject": "For all", "text": "Dear all."},
    {"name": "crowd", "text": "Dear all.", "cc": [{"email": f"cc{number}@x.example"} for number in range(6)]},
]


@dataclass(frozen=True)
class Mistake:
    """What is wrong, in the words of each door; laid over a mail that is right."""

    code: str
    status: int
    graphql: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)
    service: str = "email"
    says: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    names_field: bool = True


def nested(levels: int) -> Any:
    """An empty list in lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def alike(code: str, status: int, says: str = "", **fields: Any) -> Mistake:
    """Both doors have the same words for it."""
    return Mistake(code, status, fields, fields, says=says)


def attached(code: str, status: int, *files: dict[str, str], says: str = "") -> Mistake:
    """These attachments."""
    return alike(code, status, attachments=list(files), says=says)


def of_type(content_type: str, says: str) -> Mistake:
    """An attachment of this type."""
    graphql, rest = ({"attachments": [FILE | {name: content_type}]} for name in ("contentType", "content_type"))
    return Mistake("INVALID_INPUT", 400, graphql, rest, says=says)


LONG_NAME = "n" * 300
FILE = {"name": "a.txt", "content": "b2N0ZXRz"}
LARGE = {"name": "a.bin", "content": "A" * 2400}

MISTAKES = {
    "no such service": Mistake(
        "SERVICE_NOT_FOUND", 404, service="nowhere", says="Could not find a service for nowhere"
    ),
    "a service with an impossible name": Mistake(
        "SERVICE_NOT_FOUND", 404, service="no way", says="Could not find a service for no way"
    ),
    "a service that is switched off": Mistake(
        "SERVICE_INACTIVE", 403, service="asleep", says="Service asleep is deactivated."
    ),
    "no recipient": Mistake("NO_RECIPIENTS", 400, {"to": []}, {"to": []}, says="Invalid email - ''."),
    "an empty address": Mistake(
        "INVALID_EMAIL", 400, {"to": [{"email": ""}]}, {"to": [{"email": ""}]}, says="Invalid email - ''."
    ),
    "half an address": Mistake(
        "INVALID_EMAIL", 400, {"to": [{"email": "ann@"}]}, {"to": "ann@"}, says="Invalid email - 'ann@'."
    ),
    "two addresses in one": Mistake(
        "INVALID_EMAIL",
        400,
        {"to": [{"email": "a@x.example, b@x.example"}]},
        {"to": [{"email": "a@x.example, b@x.example"}]},
        says="Invalid email - 'a@x.example, b@x.example'.",
    ),
    "a bad address in bcc": Mistake(
        "INVALID_EMAIL", 400, {"bcc": [{"email": "x"}]}, {"bcc": ["x"]}, says="Invalid email - 'x'."
    ),
    "a header in a display name": Mistake(
        "INVALID_INPUT",
        400,
        {"to": [{"email": "a@x.example", "name": "A\r\nBcc: b@x.example"}]},
        {"to": [{"email": "a@x.example", "name": "A\r\nBcc: b@x.example"}]},
    ),
    "a header in the subject": Mistake(
        "INVALID_INPUT", 400, {"subject": "A\r\nBcc: b@x.example"}, {"subject": "A\r\nBcc: b@x.example"}
    ),
    "a header that comes by a placeholder": Mistake(
        "INVALID_INPUT",
        400,
        {"subject": "{name}", "templateData": {"name": "A\r\nBcc: b@x.example"}},
        {"subject": "{name}", "template_data": {"name": "A\r\nBcc: b@x.example"}},
    ),
    "a bad sender": Mistake(
        "INVALID_EMAIL", 400, {"from": {"email": "me@"}}, {"from_email": "me@"}, says="Invalid email - 'me@'."
    ),
    "a bad reply-to": Mistake(
        "INVALID_EMAIL", 400, {"replyTo": {"email": "me@"}}, {"reply_to_email": "me@"}, says="Invalid email - 'me@'."
    ),
    "no sender anywhere": Mistake("NO_SENDER", 400, service="senderless", says="No sender"),
    "no body": Mistake(
        "NO_BODY",
        400,
        {"text": None},
        {"body_text": None},
        says="A message must have a text or an HTML part or attachments.",
    ),
    "an attachment that is not base64": Mistake(
        "INVALID_INPUT",
        400,
        {"attachments": [{"name": "a.txt", "content": "no base64!"}]},
        {"attachments": [{"name": "a.txt", "content": "no base64!"}]},
    ),
    "an attachment that is too large": Mistake(
        "TOO_LARGE",
        413,
        {"attachments": [{"name": "a.txt", "content": "A" * 4000}]},
        {"attachments": [{"name": "a.txt", "content": "A" * 4000}]},
    ),
    "a text that is too long": Mistake("TOO_LARGE", 413, {"text": "x" * 3000}, {"body_text": "x" * 3000}),
    "a name that is too long": Mistake(
        "TOO_LARGE",
        413,
        {"to": [{"email": "a@x.example", "name": LONG_NAME}]},
        {"to": [{"email": "a@x.example", "name": LONG_NAME}]},
    ),
    "too many recipients": Mistake(
        "TOO_LARGE",
        413,
        {"to": [{"email": f"{number}@x.example"} for number in range(11)]},
        {"to": [f"{number}@x.example" for number in range(11)]},
    ),
    "template data that is a list": Mistake("INVALID_INPUT", 400, {"templateData": ["x"]}, {"template_data": ["x"]}),
    "template data that nests too deeply": Mistake(
        "INVALID_INPUT", 400, {"templateData": {"x": nested(9)}}, {"template_data": {"x": nested(9)}}
    ),
    "a character that cannot be stored": Mistake("INVALID_INPUT", 400, {"text": "nul \x00"}, {"body_text": "nul \x00"}),
    "a subject that is too long": alike(
        "TOO_LARGE", 413, subject="s" * 999, says="subject has 999 characters; the limit"
    ),
    "a subject that placeholders make too long": Mistake(
        "TOO_LARGE",
        413,
        {"subject": "{x}{x}", "templateData": {"x": "s" * 600}},
        {"subject": "{x}{x}", "template_data": {"x": "s" * 600}},
        says="subject has 1200 characters; the limit",
    ),
    "a text that placeholders make too long": Mistake(
        "TOO_LARGE",
        413,
        {"text": "{x}{x}", "templateData": {"x": "s" * 1500}},
        {"body_text": "{x}{x}", "template_data": {"x": "s" * 1500}},
        says="text would have 3000 characters",
    ),
    "a sender's name that is too long": Mistake(
        "TOO_LARGE",
        413,
        {"from": {"email": "a@x.example", "name": LONG_NAME}},
        {"from_name": LONG_NAME},
        says="from_name has 300 characters",
    ),
    "a header in the name of reply-to": Mistake(
        "INVALID_INPUT",
        400,
        {"replyTo": {"email": "a@x.example", "name": "A\nB"}},
        {"reply_to_email": "a@x.example", "reply_to_name": "A\nB"},
        says="A name must not contain control characters",
    ),
    "too many attachments": attached(
        "TOO_LARGE", 413, *[FILE] * 4, says="attachments has 4 attachments; the limit is 3."
    ),
    "attachments that are too large together": Mistake(
        "TOO_LARGE",
        413,
        {"attachments": [LARGE] * 3},
        {"attachments": [LARGE] * 3},
        says="The composed mail has ",
        names_field=False,
    ),
    "an attachment without a name": attached("INVALID_INPUT", 400, FILE | {"name": ""}, says="An attachment needs a"),
    "a header in the name of an attachment": attached("INVALID_INPUT", 400, FILE | {"name": "a\r\nB: c"}),
    "a name of an attachment that is too long": attached("TOO_LARGE", 413, FILE | {"name": LONG_NAME}),
    "a type that is none": of_type("plain", says="'plain' is no media type"),
    "a type with a header": of_type("text/plain\r\nB: c", says="'text/plain\\r\\nB: c' is no media type"),
    "a type beyond ASCII": of_type("text/pläin", says="'text/pläin' is no media type"),
    "a type of many parts": of_type("multipart/mixed", says="An attachment is one file"),
    "a type that is too long": Mistake(
        "TOO_LARGE",
        413,
        {"attachments": [FILE | {"contentType": f"text/{LONG_NAME}"}]},
        {"attachments": [FILE | {"content_type": f"text/{LONG_NAME}"}]},
    ),
    "a content id with brackets": Mistake(
        "INVALID_INPUT",
        400,
        {"attachments": [FILE | {"contentId": "<a>"}]},
        {"attachments": [FILE | {"content_id": "<a>"}]},
        says="'<a>' is no content id",
    ),
    "one content id twice": Mistake(
        "INVALID_INPUT",
        400,
        {"attachments": [FILE | {"contentId": "a"}] * 2},
        {"attachments": [FILE | {"content_id": "a"}] * 2},
        says="The content id a is used twice",
    ),
    "no such template": alike("TEMPLATE_NOT_FOUND", 404, template="nope", says="Email Template 'nope' not found"),
    "a template that no name can be": alike(
        "TEMPLATE_NOT_FOUND", 404, template="x" * 5000, says=f"Email Template '{'x' * 100}' not found"
    ),
    "a template that cannot be stored": alike(
        "TEMPLATE_NOT_FOUND", 404, template="\x00", says="Email Template '\\x00' not found"
    ),
    "a template whose recipients are too many with the mail's own": alike(
        "TOO_LARGE",
        413,
        template="crowd",
        to=[{"email": f"{number}@x.example"} for number in range(5)],
        says="to has 11 recipients; the limit is 10.",
    ),
    "a template whose subject gets a header": Mistake(
        "INVALID_INPUT",
        400,
        {"template": "needy", "subject": None, "templateData": {"name": "A\r\nBcc: b@x.example"}},
        {"template": "needy", "subject": None, "template_data": {"name": "A\r\nBcc: b@x.example"}},
        says="Subject must not contain control characters (U+000D).",
    ),
    "a template without recipients": alike(
        "NO_RECIPIENTS", 400, template="needless", to=None, says="Invalid email - ''."
    ),
    "a template with template data that nests too deeply": Mistake(
        "INVALID_INPUT",
        400,
        {"template": "needless", "templateData": {"x": nested(9)}},
        {"template": "needless", "template_data": {"x": nested(9)}},
    ),
    "an idempotency key that is too long": Mistake(
        "INVALID_INPUT",
        400,
        {"idempotencyKey": "k" * 257},
        headers={"Idempotency_Key": "k" * 257},
        says="An idempotency key has 1 to 256 printable characters.",
    ),
    "an empty idempotency key": Mistake(
        "INVALID_INPUT",
        400,
        {"idempotencyKey": ""},
        headers={"Idempotency_Key": ""},
        says="An idempotency key has 1 to 256 printable characters.",
    ),
}
