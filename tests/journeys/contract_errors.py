"""Section 3 of the contract, second half: who may not, what is not there, and what is too large."""

from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from tests.journeys.contract import (
    ANN,
    BODY,
    FORM,
    MULTIPART,
    Answer,
    Request,
    Row,
    arrival,
    mail,
    multipart,
    not_taken,
    sent,
    taken,
)
from tests.journeys.reading import File

LIMITS: dict[str, Any] = {
    "max_body_bytes": 20_000,
    "max_attachment_bytes": 3000,
    "max_attachments": 5,
    "max_recipients": 10,
    "max_subject_chars": 400,
    "max_name_chars": 100,
    "max_body_chars": 5000,
    "max_message_bytes": 12_000,
    "max_json_depth": 10,
    "max_form_fields": 40,
}
"""What the installations of the rows bear."""

MAIL = mail()


def by(key: str, path: str = "/api/v2/{service}") -> Request:
    """The usual mail with the API key of this name."""
    return replace(MAIL, headers={"X-API-Key": f"{{{key}}}"}, path=path)


def file(size: int, name: str = "a.bin") -> dict[str, str]:
    """An attachment of so many octets."""
    return {"name": name, "content": b64encode(b"x" * size).decode()}


def nested(levels: int) -> Any:
    """A value of so many levels."""
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def too_large(request: Request, says: str, field: str | None = None) -> Row:
    """Over a limit, which the message names."""
    return not_taken(request, 413, says, error_code="TOO_LARGE", **({"field": field} if field else {}))


ACCESS = {
    "an unknown key": not_taken(by("unknown"), 401, "Invalid API key.", error_code="INVALID_API_KEY"),
    "a revoked key": not_taken(by("revoked"), 401, "Invalid API key.", error_code="INVALID_API_KEY"),
    "an expired key": not_taken(by("expired"), 401, "Invalid API key.", error_code="INVALID_API_KEY"),
    "a role that may send": taken(by("sender")),
    "a role that may not send": not_taken(by("reader"), 403, "Access Forbidden.", error_code="FORBIDDEN"),
    "a role that may not send, and no such service": not_taken(
        by("reader", "/api/v2/nowhere"), 403, "Access Forbidden.", error_code="FORBIDDEN"
    ),
    "a role that may send by another service": not_taken(by("elsewhere"), 403, "Access Forbidden."),
    "a role that may send by another service, and no such one": not_taken(
        by("elsewhere", "/api/v2/nowhere"), 403, "Access Forbidden."
    ),
    "an inactive role": not_taken(by("inactive"), 403, "Access Forbidden.", error_code="ROLE_INACTIVE"),
    "an inactive service": Row(
        not_taken(MAIL, 403, "Service {service} is deactivated.", error_code="SERVICE_INACTIVE").exchanges,
        service={"isActive": False},
    ),
    "an unknown service": not_taken(
        replace(MAIL, path="/api/v2/nowhere"),
        404,
        "Could not find a service for nowhere",
        error_code="SERVICE_NOT_FOUND",
    ),
    "a service with a name that none can have": not_taken(
        replace(MAIL, path="/api/v2/no%20way%0D%0A"), 404, "Could not find a service for no way\\r\\n"
    ),
}

RATES = {
    "more recipients than a rate limit": Row(
        [
            (
                replace(by("limited"), body=mail(to=[ANN, "b@x.example", "c@x.example"]).body),
                Answer(
                    429,
                    code=429,
                    says="API limit(s) exceeded. The limit of role 'limited' with service '{service}' is 2 recipients",
                    context={"error_code": "RATE_LIMITED", "retryable": None, "retry_after": None},
                    headers={"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "2"},
                ),
            )
        ]
    ),
    "a rate limit is reached": Row(
        [
            (by("limited"), sent(X_RateLimit_Limit="2", X_RateLimit_Remaining="1")),
            (by("limited"), sent(X_RateLimit_Limit="2", X_RateLimit_Remaining="0")),
            (
                by("limited"),
                Answer(
                    429,
                    code=429,
                    says="API limit(s) exceeded. The limit of role 'limited' with service '{service}' is 2 recipients",
                    context={"error_code": "RATE_LIMITED", "retryable": True},
                    headers={"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "0"},
                ),
            ),
        ],
        [arrival(), arrival()],
    ),
}

SIZES = {
    "a body": too_large(mail(body_text="x" * 20_001), "The request body is larger than 20000 bytes."),
    "a form": too_large(
        replace(MAIL, body=urlencode(BODY | {"x": "x" * 20_001}).encode(), content_type=FORM),
        "The request body is larger than 20000 bytes.",
    ),
    "a form with files": too_large(
        replace(MAIL, body=multipart(BODY, ("file", "a", None, b"x" * 20_001)), content_type=MULTIPART),
        "The request body is larger than 20000 bytes.",
    ),
    "an attachment": too_large(
        mail(attachments=[file(3001)]), "content has 3001 bytes; the limit is 3000.", "attachments.0.content"
    ),
    "a file": too_large(
        replace(MAIL, body=multipart(BODY, ("file", "a", None, b"x" * 3001)), content_type=MULTIPART),
        "content has 3001 bytes; the limit is 3000.",
        "attachments.0.content",
    ),
    "as many attachments as may be": taken(
        mail(attachments=[file(0, f"{number}.bin") for number in range(5)]),
        files=tuple(File(f"{number}.bin", "application/octet-stream", b"") for number in range(5)),
    ),
    "attachments": too_large(
        mail(attachments=[file(1)] * 6), "attachments has 6 attachments; the limit is 5.", "attachments"
    ),
    "files": too_large(
        replace(MAIL, body=multipart(BODY, *[("file", "a", None, b"x")] * 6), content_type=MULTIPART),
        "The form has more than 5 files, which is the limit.",
        "attachments",
    ),
    "the mail as it is composed": too_large(
        mail(attachments=[file(3000)] * 4),
        "The composed mail has ",
    ),
    "recipients": too_large(
        mail(to=[f"{number}@x.example" for number in range(6)], cc=[f"{number}@y.example" for number in range(5)]),
        "to has 11 recipients; the limit is 10.",
        "to",
    ),
    "a subject": too_large(mail(subject="x" * 401), "subject has 401 characters; the limit is 400.", "subject"),
    "a name": too_large(
        mail(to=[{"email": "a@x.example", "name": "n" * 101}]),
        "name has 101 characters; the limit is 100.",
        "to.0.name",
    ),
    "a sender's name": too_large(
        mail(from_name="n" * 101), "from_name has 101 characters; the limit is 100.", "from_name"
    ),
    "a text": too_large(mail(body_text="x" * 5001), "text has 5001 characters; the limit is 5000.", "body_text"),
    "a text, its placeholders filled": too_large(
        mail(body_text="{x}" * 6, x="x" * 1000), "text would have 6000 characters", "body_text"
    ),
    "fields of a form": too_large(
        replace(MAIL, body=urlencode([(f"v{number}", "") for number in range(41)]).encode(), content_type=FORM),
        "The form has more than 40 fields, which is the limit.",
    ),
    "fields of a query": too_large(
        replace(MAIL, query=urlencode([(f"v{number}", "") for number in range(41)])),
        "The query has more than 40 fields, which is the limit.",
    ),
    "levels that may be": taken(mail(deep=nested(10))),
    "levels of a variable": not_taken(
        mail(deep=nested(11)), 400, "The field 'deep' must be at most 10 levels deep.", field="deep"
    ),
    "levels of a form": not_taken(
        replace(MAIL, body=b"to=a@x.example&a" + b"[x]" * 11 + b"=1", content_type=FORM),
        400,
        "The field 'a' must be at most 10 levels deep.",
    ),
    "levels beyond any measure": not_taken(
        replace(MAIL, body=b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}"), 400, "The JSON must be at most 10 levels deep."
    ),
}

ROWS = {**ACCESS, **RATES, **SIZES}
