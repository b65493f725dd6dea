"""The OpenAPI 3.1 document of the REST route: what it says is what the settings make hold."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from app.rest.examples import CURL_EXAMPLES, failure_examples
from app.rest.schemas import Schema, answer_schemas, field_schemas, mail_schemas
from app.settings import Settings
from app.submission.submit import MAX_IDEMPOTENCY_KEY_CHARS

PATH = "/api/v2/{service}"

DESCRIPTION = """\
Sends mail through the SMTP servers that this Heliograph knows as services. A client written for DreamFactory's SMTP \
connector changes its base URL and nothing else.

The answer is the SMTP server's own: a 200 means sent, or stored and tried again until it is; a 500 means that nothing \
will be sent later."""

PLACEHOLDERS = """\
`{name}` in `subject`, `body_text` and `body_html` is replaced by the value of that name: from `template_data`, else \
from any key of the request that is not a field. Names are exact and case-sensitive; strings, numbers and booleans \
fill them. What has no value stays as it is written, so that CSS such as `{color:red}` survives, and a value is never \
expanded again.

In `body_html`, values from `template_data` are HTML-escaped. Values from other keys go in raw, as they always did: \
escape them yourself, or use `template_data`.

A stored template is named by `template`, or by its number in `template_id`, in the body or in the query. What the \
request leaves out comes from the template, then from the service, then from the server's settings."""

FAILURES: Mapping[int, str] = {
    400: "Something in the request is wrong. The message names it.",
    401: "There is no API key, or not a valid one.",
    403: "The API key's role may not do this, whether or not the service exists: send with this service, as this "
    "sender or to this recipient, or what its templates do not hold. The message says which rule, and `field` where. "
    "One recipient that is forbidden refuses the whole mail.",
    404: "There is no such service, template or path.",
    405: "Only POST sends.",
    409: "The idempotency key was used for another request.",
    413: "Something is over a limit. The message names both.",
    429: "A rate limit has no room for all recipients of the mail, and none was counted. The message names the limit.",
    500: "The mail was not sent, and will not be. With `X-Message-Id` the message was recorded as failed.",
    503: "Nothing is wrong with the request. Repeat it later if the context says `retryable`; else look it up first.",
}

_LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_FAILURE_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", *_LIMIT_HEADERS),
    500: ("X-Message-Id", "Idempotent-Replayed", *_LIMIT_HEADERS),
    503: ("Retry-After", "X-Message-Id", "Idempotent-Replayed", *_LIMIT_HEADERS),
}
_ACCEPTED_HEADERS = ("X-Message-Id", "X-Message-Status", "Idempotent-Replayed", *_LIMIT_HEADERS)
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECURITY: Mapping[str, Schema] = {
    "dreamFactoryKey": {"type": "apiKey", "in": "header", "name": "X-DreamFactory-API-Key"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "queryKey": {
        "type": "apiKey",
        "in": "query",
        "name": "api_key",
        "description": "For old clients. Prefer a header: addresses end up in logs along the way.",
    },
}
"""In the order in which they are looked for."""


def openapi_document(settings: Settings) -> dict[str, Any]:
    """The whole document, ready to be written as JSON."""
    return {
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "Heliograph: the REST route",
            "version": version("heliograph"),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in _SECURITY],
        "tags": [{"name": "mail", "description": PLACEHOLDERS}],
        "paths": {PATH: {"parameters": [_service()], "post": _operation(settings)}},
        "components": {
            "schemas": {**mail_schemas(settings), **answer_schemas()},
            "headers": _headers(),
            "securitySchemes": dict(_SECURITY),
        },
    }


def _operation(settings: Settings) -> Schema:
    return {
        "operationId": "sendMail",
        "tags": ["mail"],
        "summary": "Send a mail",
        "description": "Stores the mail, tries it at once, and answers what the SMTP server said.",
        "parameters": [*_header_parameters(), *_query_parameters(settings)],
        "requestBody": _request_body(settings),
        "responses": _responses(settings),
        "x-curl": list(CURL_EXAMPLES),
    }


def _service() -> Schema:
    return {
        "name": "service",
        "in": "path",
        "required": True,
        "description": "The service's name, in any case. A slash at the end of the path is tolerated.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"},
        "example": "email",
    }


def _header_parameters() -> list[Schema]:
    prefer = "`respond-async` (RFC 7240): answer with 202 as soon as the mail is stored, and send it afterwards."
    idempotency = (
        "The same request with the same key sends once, and answers the same. A key is kept for a day, unless the"
        " operator chose another time."
    )
    text = {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY_CHARS}
    printable = {**text, "pattern": "^[!-~]([ -~]*[!-~])?$"}
    return [
        {
            "name": "Prefer",
            "in": "header",
            "description": prefer,
            "schema": {"type": "string"},
            "example": "respond-async",
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": idempotency,
            "schema": printable,
            "example": "order-1001",
        },
    ]


def _query_parameters(settings: Settings) -> list[Schema]:
    """Every field that is a text may come in the query: templates always, the others where there is no body."""
    form = mail_schemas(settings)["Form"]["properties"]
    skipped = {"template_data", "attachments", "attachment"}
    return [
        {
            "name": name,
            "in": "query",
            "description": form[name].get("description", "") + _when(name),
            "schema": {key: value for key, value in form[name].items() if key != "description"},
        }
        for name in field_schemas(settings)
        if name not in skipped
    ]


def _when(name: str) -> str:
    return (
        " Counts with and without a body." if name in ("template", "template_id") else " Read where there is no body."
    )


def _request_body(settings: Settings) -> Schema:
    media = {
        "application/json": "Mail",
        "application/x-www-form-urlencoded": "Form",
        "multipart/form-data": "Multipart",
    }
    content = {name: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for name, schema in media.items()}
    content["application/json"]["example"] = {"to": "ada@example.com", "subject": "Hello", "body_text": "It works."}
    content["application/x-www-form-urlencoded"]["example"] = {"to": "ada@example.com", "body_text": "It works."}
    return {
        "description": (
            f"The mail: at most {settings.max_body_bytes} bytes, {settings.max_json_depth} levels deep, and"
            f" {settings.max_form_fields} fields of a form. Any other type is read as JSON, and so is a form that"
            " starts with a brace. Without a body, the fields are read from the query."
        ),
        "content": content,
    }


def _responses(settings: Settings) -> Schema:
    examples = failure_examples(settings)
    accepted = {
        "200": _accepted("Sent, or stored and tried again: `X-Message-Status` says which.", *_ACCEPTED_HEADERS),
        "202": _accepted(
            "Stored, as `Prefer: respond-async` or the service's setting asked for.",
            *_ACCEPTED_HEADERS,
            "Preference-Applied",
        ),
    }
    return accepted | {str(status): _failure(status, text, examples[status]) for status, text in FAILURES.items()}


def _accepted(description: str, *headers: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}}
    return {"description": description, "headers": _named(headers), "content": content}


def _failure(status: int, description: str, examples: Schema) -> Schema:
    own = {"properties": {"error": {"properties": {"status_code": {"const": status}}}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, own]}
    answer = {"description": description, "content": {"application/json": {"schema": schema, "examples": examples}}}
    headers = _FAILURE_HEADERS.get(status)
    return {**answer, "headers": _named(headers)} if headers else answer


def _named(headers: tuple[str, ...]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def _headers() -> dict[str, Schema]:
    text = {"type": "string"}
    return {
        "X-Message-Id": _header("Under this id GraphQL shows the message.", {**text, "pattern": "^msg_[0-9a-f]{32}$"}),
        "X-Message-Status": _header("Whether it has left or will be tried.", {"enum": ["sent", "queued"]}),
        "Idempotent-Replayed": _header("There where an earlier request made the message.", {"const": "true"}),
        "Preference-Applied": _header("There where `Prefer` was followed.", {"const": "respond-async"}),
        "Retry-After": _header("Seconds after which it is worth another try.", {"type": "integer", "minimum": 0}),
        "X-RateLimit-Limit": _header("Recipients that the tightest rate limit allows, if there is one.", _COUNT),
        "X-RateLimit-Remaining": _header("How many of them are free.", _COUNT),
        "X-RateLimit-Reset": _header(
            "When all are free again, or with 429 when the mail fits; in seconds since 1970.", _COUNT
        ),
        "WWW-Authenticate": _header("A scheme to authenticate with.", {"const": "Bearer"}),
        "Allow": _header("What is allowed.", {"const": "POST"}),
    }


def _header(description: str, schema: Schema) -> Schema:
    return {"description": description, "schema": schema}
