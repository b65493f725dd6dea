"""The shapes of a mail and of the answers, in JSON Schema 2020-12, with the limits that the settings set."""

from collections.abc import Mapping
from typing import Any

from app.errors import ErrorCode
from app.settings import Settings

Schema = dict[str, Any]

ERROR_CODES: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_INPUT: "A field has the wrong shape, or a value that cannot be used.",
    ErrorCode.INVALID_EMAIL: "An address cannot be read. It is never repaired.",
    ErrorCode.NO_RECIPIENTS: "There is nobody to send to.",
    ErrorCode.NO_SENDER: "Neither the request, nor the template, nor the service, nor the server names a sender.",
    ErrorCode.NO_BODY: "There is no text, no HTML and no attachment.",
    ErrorCode.MISSING_VARIABLE: "A template needs a variable. On this route it stays as written; GraphQL refuses.",
    ErrorCode.TOO_LARGE: "Something is over a limit, which the message names.",
    ErrorCode.UNAUTHENTICATED: "The request carries no API key.",
    ErrorCode.INVALID_API_KEY: "The API key is unknown, expired or revoked.",
    ErrorCode.FORBIDDEN: "The API key's role may not do this, or not with this mail.",
    ErrorCode.ROLE_INACTIVE: "The API key's role is switched off.",
    ErrorCode.SERVICE_INACTIVE: "The service is switched off.",
    ErrorCode.SERVICE_NOT_FOUND: "No service has this name.",
    ErrorCode.TEMPLATE_NOT_FOUND: "No template has this name or number.",
    ErrorCode.NOT_FOUND: "The thing named does not exist.",
    ErrorCode.NAME_TAKEN: "The name is in use. GraphQL only.",
    ErrorCode.IN_USE: "Something else still needs it. GraphQL only.",
    ErrorCode.WRONG_STATE: "It is too late for this, or too early. GraphQL only.",
    ErrorCode.MANAGED_BY_ENVIRONMENT: "The server's environment defines it, and only that can change it. GraphQL only.",
    ErrorCode.IDEMPOTENCY_CONFLICT: "The idempotency key was used for another request, or is in use right now.",
    ErrorCode.RATE_LIMITED: "A rate limit of the role, its grant or the API key has no room. The message names it.",
    ErrorCode.UNAVAILABLE: "Nothing is wrong with the request, but it cannot be answered right now.",
    ErrorCode.INTERNAL: "Unexpected. The log has the details under the id in `error_id`.",
}
"""What each code means to a client."""

_ADDRESS_FORMS = ["ada@example.com", "Ada Lovelace <ada@example.com>", "ada@example.com, Bob <bob@example.com>"]
_ADA = {"email": "ada@example.com", "name": "Ada Lovelace"}
_NESTED = "Lists and objects are written in brackets, or as JSON."


def mail_schemas(settings: Settings) -> dict[str, Schema]:
    """The components that a request body is made of; `Mail` is the JSON body, `Form` and `Multipart` are forms."""
    fields = field_schemas(settings)
    form = {name: _as_text(schema) for name, schema in fields.items()}
    return {
        "Mail": _mail("A mail, as a JSON object.", fields),
        "Form": _mail(f"A mail, as the fields of a form. {_NESTED}", form) | {"patternProperties": _brackets()},
        "Multipart": _mail(
            f"A mail, as the fields of a form, with files under any name. {_NESTED}", {**form, **_files()}
        )
        | {"patternProperties": _brackets()},
        "Mailboxes": _mailboxes(settings),
        "Address": _address(),
        "AddressList": _address_list(),
        "Mailbox": _mailbox(settings),
        "Sender": _sender(),
        "Attachments": _attachments(settings),
        "Attachment": _attachment(settings),
        "Link": _link(),
        "Variable": {"description": "Any JSON value. Strings, numbers and booleans fill placeholders."},
    }


def field_schemas(settings: Settings) -> dict[str, Schema]:
    """Every field of a mail, by its name."""
    counted = "The limit counts the characters with placeholders filled."
    body, subject, name = settings.max_body_chars, settings.max_subject_chars, settings.max_name_chars
    return {
        "to": _recipients("Who gets the mail. Needed, unless a template names recipients."),
        "cc": _recipients("Who gets a copy that everybody sees."),
        "bcc": _recipients("Who gets a copy that nobody else sees."),
        "subject": _text(f"The subject. {counted}", subject, "Hello {name}"),
        "body_text": _text(f"The plain text part. {counted}", body, "Hello {name},\nyour order is on its way."),
        "body_html": _text(f"The HTML part. {counted}", body, "<p>Hello {name}</p>"),
        "from_email": _reference("Sender", "The sender, instead of the service's default."),
        "from_name": _text("The sender's display name.", name, "Example Shop"),
        "reply_to_email": _reference("Sender", "Where replies go, instead of the service's default."),
        "reply_to_name": _text("The display name of that address.", name, "Support"),
        "template": _template("The name of a stored template. Wins over `template_id`.", "welcome"),
        "template_id": _template("The number of a stored template; anything else is read as its name.", 7),
        "template_data": _template_data(),
        "attachments": _reference("Attachments", "Files and inline images."),
        "attachment": _reference("Attachments", "The older name of `attachments`; files of both are sent."),
        "import_url": _import_url(),
    }


def answer_schemas() -> dict[str, Schema]:
    """The components that an answer is made of."""
    return {"Accepted": _accepted(), "Error": _error(), "Context": _context(), "Problem": _problem(), "Code": _code()}


def _mail(description: str, fields: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "description": f"{description} Every key that is not a field is a variable for {{placeholders}}.",
        "properties": dict(fields),
        "additionalProperties": _reference("Variable"),
    }


def _reference(name: str, description: str | None = None) -> Schema:
    reference = {"$ref": f"#/components/schemas/{name}"}
    return reference if description is None else {**reference, "description": description}


def _recipients(description: str) -> Schema:
    return _reference("Mailboxes", f"{description} Empty counts as absent.")


def _text(description: str, most: int, example: str) -> Schema:
    return {"type": ["string", "null"], "maxLength": most, "description": description, "examples": [example]}


def _template(description: str, example: str | int) -> Schema:
    return {"type": ["string", "integer", "null"], "description": description, "examples": [example]}


def _template_data() -> Schema:
    return {
        "description": "Values for {placeholders}. Win over variables of the same name; HTML-escaped in `body_html`.",
        "anyOf": [
            {"type": "object", "additionalProperties": _reference("Variable")},
            {"enum": [None, "", []]},
        ],
        "examples": [{"name": "Ada", "total": 12.5}],
    }


def _import_url() -> Schema:
    one = [_reference("Link"), {"enum": [None, ""]}]
    return {
        "description": "The URL of a file to attach, or a list of them, on a host that the operator allowed.",
        "anyOf": [*one, {"type": "array", "items": {"anyOf": one}}],
        "examples": ["https://files.example.com/invoice.pdf"],
    }


def _mailboxes(settings: Settings) -> Schema:
    one = [_reference("Address"), _reference("AddressList"), _reference("Mailbox"), {"type": "null"}]
    most = settings.max_recipients
    listed = {"type": "array", "maxItems": most, "items": {"anyOf": one}}
    return {
        "description": f"One address or several. A mail has at most {most} recipients, those of `to`, `cc` and `bcc`.",
        "anyOf": [*one, listed],
        "examples": [*_ADDRESS_FORMS, _ADA, ["ada@example.com", "Bob <bob@example.com>", {"email": "eve@example.com"}]],
    }


def _address() -> Schema:
    return {
        "type": "string",
        "format": "idn-email",
        "description": "One address (RFC 5322), international ones included.",
        "examples": ["ada@example.com", "zoë@bücher.example"],
    }


def _address_list() -> Schema:
    return {
        "type": "string",
        "description": "Addresses with or without a display name, separated by commas or semicolons.",
        "examples": [*_ADDRESS_FORMS[1:], '"Lovelace, Ada" <ada@example.com>; bob@example.com', ""],
    }


def _mailbox(settings: Settings) -> Schema:
    return {
        "type": "object",
        "description": "An address and its display name.",
        "required": ["email"],
        "properties": {
            "email": {"type": "string", "format": "idn-email", "description": "The address.", "maxLength": 254},
            "name": {"type": ["string", "null"], "description": "The name.", "maxLength": settings.max_name_chars},
        },
        "examples": [_ADA],
    }


def _sender() -> Schema:
    return {
        "description": "One address. Empty counts as absent.",
        "anyOf": [_reference("Address"), {"enum": [None, ""]}],
        "examples": ["shop@example.com"],
    }


def _attachments(settings: Settings) -> Schema:
    one = [_reference("Attachment"), _reference("Link"), {"enum": [None, ""]}]
    most = settings.max_attachments
    return {
        "description": f"One file or a list of files, at most {most} for a mail.",
        "anyOf": [*one, {"type": "array", "maxItems": most, "items": {"anyOf": one}}],
        "examples": [[{"name": "hello.txt", "content": "SGVsbG8K", "content_type": "text/plain"}]],
    }


def _attachment(settings: Settings) -> Schema:
    short: Schema = {"maxLength": settings.max_name_chars}
    content = f"The file in base64, decoded at most {settings.max_attachment_bytes} bytes."
    kind = "Its media type; without one it is guessed from the name."
    inline = 'Makes it an inline image, shown by `<img src="cid:…">` in `body_html`.'
    return {
        "type": "object",
        "description": "A file, sent along in the request.",
        "required": ["name", "content"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "The file's name.", **short},
            "content": {"type": "string", "contentEncoding": "base64", "description": content},
            "content_type": {"type": ["string", "null"], "description": kind, **short},
            "content_id": {"type": ["string", "null"], "description": inline, **short},
        },
        "examples": [
            {"name": "logo.png", "content": "iVBORw0KGgo=", "content_type": "image/png", "content_id": "logo"}
        ],
    }


def _link() -> Schema:
    url = {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}
    return {
        "description": "The URL of a file that the server fetches, or several with commas between them. Refused"
        " unless the operator allowed the host.",
        "anyOf": [url, {"type": "object", "required": ["url"], "properties": {"url": url}}],
        "examples": ["https://files.example.com/invoice.pdf", {"url": "https://files.example.com/invoice.pdf"}],
    }


def _as_text(schema: Schema) -> Schema:
    """A field of a form: a string with the same meaning and the same limit."""
    kept: Schema = {name: schema[name] for name in ("description", "maxLength") if name in schema}
    return {"type": "string", **kept}


def _brackets() -> dict[str, Schema]:
    """Lists and objects in the fields of a form, as PHP and jQuery write them."""
    return {
        r"^(to|cc|bcc)\[[0-9]*\](\[(email|name)\])?$": _bracket("One of several recipients.", "to[]", "to[0][email]"),
        r"^(to|cc|bcc)\[(email|name)\]$": _bracket("The one recipient.", "to[email]", "to[name]"),
        r"^template_data\[[^\[\]]+\]$": _bracket("A value for placeholders.", "template_data[name]"),
        r"^attachments?\[[0-9]+\]\[(name|content|content_type|content_id)\]$": _bracket(
            "One of several files, its content in base64.", "attachments[0][name]", "attachments[0][content]"
        ),
    }


def _bracket(description: str, *names: str) -> Schema:
    return {"type": "string", "description": description, "x-names": list(names)}


def _files() -> dict[str, Schema]:
    """The files of a multipart form."""
    file = {
        "type": "string",
        "format": "binary",
        "contentMediaType": "application/octet-stream",
        "description": "A file.",
    }
    names = ("file", "attachment", "attachments")
    single = dict.fromkeys(names, file)
    return single | {f"{name}[]": {"type": "array", "items": file, "description": "Several files."} for name in names}


def _accepted() -> Schema:
    return {
        "type": "object",
        "description": "The mail was sent, or is stored and will be.",
        "required": ["count"],
        "properties": {"count": {"type": "integer", "minimum": 0, "description": "Recipients that were accepted."}},
        "additionalProperties": False,
        "examples": [{"count": 1}],
    }


def _error() -> Schema:
    properties = {
        "code": {"type": "integer", "description": "The SMTP reply code where there is one, else the HTTP status."},
        "context": {
            "description": "What a program can use, where there is something.",
            "anyOf": [_reference("Context"), {"type": "null"}],
        },
        "message": {"type": "string", "description": "One sentence for people."},
        "status_code": {"type": "integer", "description": "The HTTP status."},
    }
    inner = {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}
    return {
        "type": "object",
        "description": "The envelope of every failure: always these four keys.",
        "required": ["error"],
        "properties": {"error": inner},
        "additionalProperties": False,
    }


def _context() -> Schema:
    return {
        "type": "object",
        "description": "What a program can use of a failure.",
        "properties": {
            "error_code": _reference("Code", "Of the first problem. Stable, and the same in GraphQL."),
            "field": {"type": "string", "description": "The path of the field that is wrong, such as `to.0.email`."},
            "problems": {
                "type": "array",
                "items": _reference("Problem"),
                "description": "Everything that is wrong, where that is more than one thing.",
            },
            "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
            "retry_after": {"type": "integer", "description": "Seconds after which it is worth another try."},
            "smtp_code": {"type": "integer", "description": "The code of the SMTP server's reply."},
            "enhanced_code": {
                "type": ["string", "null"],
                "description": "The reply's enhanced status code (RFC 3463), such as `5.1.1`.",
            },
            "error_id": {"type": "string", "description": "Under this id the server's log has an unexpected error."},
        },
        "additionalProperties": False,
    }


def _problem() -> Schema:
    properties = {
        "error_code": _reference("Code"),
        "field": {"type": "string", "description": "The path of the field; empty where it is the whole request."},
        "message": {"type": "string", "description": "One sentence for people."},
    }
    return {
        "type": "object",
        "description": "One of several things that are wrong.",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _code() -> Schema:
    return {
        "type": "string",
        "description": "A stable code, never renamed.",
        "oneOf": [{"const": code.value, "description": meaning} for code, meaning in ERROR_CODES.items()],
    }
