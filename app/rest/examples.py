"""What the documentation shows: requests that work when pasted into a shell, and each failure as it is answered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import JSONResponse

from app.errors import (
    Conflict,
    ErrorCode,
    Forbidden,
    InvalidInput,
    NotFound,
    Problem,
    RateLimited,
    Refusal,
    Stopped,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from app.rest.errors import error_response, refusal_response
from app.settings import Settings

KEY_HEADER = "X-API-Key: {key}"

_JSON_MAIL = """\
{
  "to": ["Ada Lovelace <ada@example.com>", {"email": "bob@example.com", "name": "Bob"}],
  "subject": "Hello {name}",
  "body_text": "Hello {name}, it's {weather} today.",
  "body_html": "<p>Hello <b>{name}</b>, it's {weather} today.</p>",
  "template_data": {"name": "Ada"},
  "weather": "sunny"
}"""

_ORDER = '{"to": "ada@example.com", "subject": "Your order", "body_text": "Order 1001 is on its way."}'


CURL_EXAMPLES: Sequence[Mapping[str, Any]] = [
    {
        "title": "JSON",
        "description": "Two recipients, both parts, and values for placeholders.",
        "options": [["-H", KEY_HEADER], ["-H", "Content-Type: application/json"], ["-d", _JSON_MAIL]],
    },
    {
        "title": "Form",
        "description": "Fields of a form; lists and objects in brackets.",
        "options": [
            ["-H", KEY_HEADER],
            ["--data-urlencode", "to[]=ada@example.com"],
            ["--data-urlencode", "to[]=Bob <bob@example.com>"],
            ["--data-urlencode", "subject=Hello {name}"],
            ["--data-urlencode", "body_text=Hello {name}, that's all."],
            ["--data-urlencode", "template_data[name]=Ada & Bob"],
        ],
    },
    {
        "title": "Multipart, with a file",
        "description": "A form with files, as a browser sends it.",
        "file": {"name": "invoice.csv", "content": "item,price\nlamp,12.50\n"},
        "options": [
            ["-H", KEY_HEADER],
            ["-F", "to=ada@example.com"],
            ["-F", "subject=Your invoice"],
            ["-F", "body_text=It is attached."],
            ["-F", "attachment=@invoice.csv;type=text/csv"],
        ],
    },
    {
        "title": "Query only",
        "description": "No body at all. Addresses end up in logs along the way: prefer a body.",
        "options": [
            ["-G", "-X", "POST"],
            ["-H", KEY_HEADER],
            ["--data-urlencode", "to=ada@example.com"],
            ["--data-urlencode", "subject=Hello"],
            ["--data-urlencode", "body_text=Sent with nothing but an address."],
        ],
    },
    {
        "title": "Without waiting, and never twice",
        "description": "Answered with 202 once the mail is stored. Repeated, it sends nothing and says the same.",
        "options": [
            ["-H", KEY_HEADER],
            ["-H", "Content-Type: application/json"],
            ["-H", "Prefer: respond-async"],
            ["-H", "Idempotency-Key: order-1001"],
            ["-d", _ORDER],
        ],
    },
]
"""Calls of curl as data: `options` are words for a shell, {key} stands for an API key in them; `file` is made first."""


def failure_examples(settings: Settings) -> dict[int, dict[str, dict[str, Any]]]:
    """By HTTP status the OpenAPI examples of its failures, each with the body that the code writes."""
    examples: dict[int, dict[str, dict[str, Any]]] = {}
    answers = [*((title, refusal_response(refusal)) for title, refusal in _refusals(settings)), *_other_failures()]
    for number, (title, response) in enumerate(answers):
        shown = {"summary": title, "value": orjson.loads(bytes(response.body))}
        examples.setdefault(response.status_code, {})[f"failure{number}"] = shown
    return examples


def _refusals(settings: Settings) -> Iterator[tuple[str, Refusal]]:
    yield from _wrong_fields(settings)
    yield from _not_allowed()
    yield "Unknown service", _not_found(ErrorCode.SERVICE_NOT_FOUND, "Could not find a service for shop", "service")
    yield "Unknown template", _not_found(ErrorCode.TEMPLATE_NOT_FOUND, "Email Template 'welcome' not found", "template")
    used = "The idempotency key 'order-1001' was used for another request."
    yield (
        "Idempotency key of another request",
        Conflict(used, code=ErrorCode.IDEMPOTENCY_CONFLICT, field=("idempotency_key",)),
    )
    yield from _rate_limited()
    yield "Database not available", Unavailable()
    yield "Stopped in the middle", Stopped()


def _wrong_fields(settings: Settings) -> Iterator[tuple[str, Refusal]]:
    yield "Nothing to read", InvalidInput("No valid data in request.")
    yield "Broken JSON", InvalidInput("Invalid or malformed JSON.")
    yield "No recipient", _wrong(ErrorCode.NO_RECIPIENTS, "Invalid email - ''.", "to")
    yield "Bad address", _wrong(ErrorCode.INVALID_EMAIL, "Invalid email - 'ada@'.", "to", "0", "email")
    no_body = "A message must have a text or an HTML part or attachments."
    yield "No text, no HTML, no file", _wrong(ErrorCode.NO_BODY, no_body, "text")
    no_sender = "No sender: give a from address, or a default one on the service."
    yield "No sender", _wrong(ErrorCode.NO_SENDER, no_sender, "from_email")
    yield (
        "Wrong type",
        _wrong(ErrorCode.INVALID_INPUT, "The field 'body_text' must be a string.", "text"),
    )
    bad_base64 = "The content of 'logo.png' in 'attachments' is not valid base64."
    yield "Bad base64", _wrong(ErrorCode.INVALID_INPUT, bad_base64, "attachments", "0", "content")
    breaking = "Subject must not contain control characters (U+000A)."
    yield "Line break in the subject", _wrong(ErrorCode.INVALID_INPUT, breaking, "subject")
    yield "Several things", _two_problems()
    yield "Body too large", TooLarge(f"The request body is larger than {settings.max_body_bytes} bytes.")
    most = settings.max_recipients
    too_many = f"to has {most + 1} recipients; the limit is {most}."
    yield "Too many recipients", TooLarge(too_many, field=("to",))


def _not_allowed() -> Iterator[tuple[str, Refusal]]:
    yield "No API key", Unauthenticated("No session token (JWT) or API Key detected in request.")
    yield (
        "Unknown, expired or revoked API key",
        Unauthenticated("Invalid API key.", code=ErrorCode.INVALID_API_KEY),
    )
    yield (
        "Not granted",
        Forbidden("Access Forbidden. The role 'reports' is not granted SEND for this service."),
    )
    yield "Inactive role", Forbidden("Access Forbidden. The role is inactive.", code=ErrorCode.ROLE_INACTIVE)
    yield (
        "Inactive service",
        Forbidden("Service shop is deactivated.", code=ErrorCode.SERVICE_INACTIVE, field=("service",)),
    )


def _rate_limited() -> Iterator[tuple[str, Refusal]]:
    exceeded = "API limit(s) exceeded. The limit of role 'shop' is 10 recipients per minute"
    yield "Rate limit", RateLimited(f"{exceeded}. Try again in 42 s.", limit=10, remaining=0, retry_after=42)
    never = f"{exceeded}, and this mail has 11: it can never pass. Send it in smaller parts."
    yield "More recipients than a rate limit", RateLimited(never, limit=10, remaining=10)


def _two_problems() -> Refusal:
    problems = (
        Problem(ErrorCode.INVALID_EMAIL, "Invalid email - 'ada@'.", ("to", "0", "email")),
        Problem(ErrorCode.INVALID_EMAIL, "Invalid email - 'bob'.", ("cc", "0", "email")),
    )
    return InvalidInput(problems=problems)


def _wrong(code: ErrorCode, message: str, *field: str) -> Refusal:
    return InvalidInput(message, code=code, field=field)


def _not_found(code: ErrorCode, message: str, field: str) -> Refusal:
    return NotFound(message, code=code, field=(field,))


def _other_failures() -> Iterator[tuple[str, JSONResponse]]:
    """What is answered without a refusal: a wrong path or method, the SMTP server's no, a bug."""
    yield "Nothing here", error_response(404, "There is nothing here. Mail is sent with POST /api/v2/{service}.")
    yield "Any method but POST", error_response(405, "The method GET is not supported; use POST.")
    never: dict[str, object] = {"retryable": False}
    replies = (
        ("Refused by the SMTP server", 550, "5.1.1", "550 5.1.1 no such user"),
        ("Wrong SMTP credentials", 535, "5.7.8", "Authentication failed (535 5.7.8)."),
    )
    for title, code, enhanced_code, message in replies:
        context = never | {"smtp_code": code, "enhanced_code": enhanced_code}
        yield title, error_response(500, message, context, code=code)
    server = "smtp.example.com:587"
    for title, message in (
        ("Wrong host or port", f"Connection refused by {server}. Check host and port."),
        ("Unresolvable host", "Host not found: smtp.example.com."),
        ("Firewall", f"Connection timed out: {server} (a firewall may be in the way)."),
        ("Address not permitted", "Address not permitted: this server sends nothing to smtp.example.com."),
        ("TLS problem", f"Certificate error: the certificate of {server} has expired."),
    ):
        yield title, error_response(500, message, never)
    error_id = "0123456789abcdef"
    yield "Unexpected", error_response(500, f"Internal error. Its id is {error_id}.", {"error_id": error_id})
