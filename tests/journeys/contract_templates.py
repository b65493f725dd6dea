"""Section 2 of the contract: stored templates, placeholders, and which of several values counts."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from tests.journeys.contract import (
    ANN,
    AS_SENT,
    BODY,
    MULTIPART,
    SENDER,
    Arrival,
    Request,
    Row,
    arrival,
    mail,
    multipart,
    not_taken,
    sent,
    taken,
)

TEMPLATES: list[dict[str, Any]] = [
    {
        "name": "Welcome",
        "number": 41,
        "subject": "Welcome, {name}",
        "text": "Dear {name}, {from_name} greets you.",
        "html": "<style>b{color:red}</style><b>{name}</b>",
    },
    {
        "name": "whole",
        "number": 42,
        "subject": "From the template",
        "text": "{greeting}, {name}.",
        "fromEmail": "template@sender.example",
        "fromName": "Template",
        "replyToEmail": "reply@sender.example",
        "replyToName": "Reply",
        "to": [{"email": "default@x.example", "name": "Default"}],
        "cc": [{"email": "cc@x.example"}],
        "bcc": [{"email": "bcc@x.example"}],
        "variables": [{"name": "greeting", "default": "Hello"}, {"name": "name", "required": True}],
    },
    {"name": "43", "number": 44, "subject": "Named 43", "text": "By its name."},
    {"name": "numbered", "number": 43, "subject": "Number 43", "text": "By its number."},
]
"""Every installation has them."""

WELCOME = {"subject": "Welcome, Ann", "text": "Dear Ann, {from_name} greets you.\r\n"} | {
    "html": "<style>b{color:red}</style><b>Ann</b>\r\n"
}
BY_NAME: dict[str, Any] = {"subject": "Named 43", "text": "By its name.\r\n"}
BY_NUMBER = {"subject": "Number 43", "text": "By its number.\r\n"}
OF_WHOLE = replace(
    AS_SENT,
    sender="Template <template@sender.example>",
    to="Default <default@x.example>",
    cc="cc@x.example",
    reply_to="Reply <reply@sender.example>",
    subject="From the template",
    text="Hello, Ann.\r\n",
)
OWN = {
    "from_email": "f@y.example",
    "from_name": "F",
    "reply_to_email": "r@y.example",
    "reply_to_name": "R",
    "subject": "Own",
    "body_text": "Own.",
    "cc": "own@x.example",
    "bcc": "hidden@x.example",
}


def short(**fields: Any) -> Request:
    """A request with no more than a recipient, and these."""
    return mail(**{"subject": None, "body_text": None} | fields)


def filled(body_text: str, arrives: str, **fields: Any) -> Row:
    """A text whose placeholders these fields fill."""
    return taken(mail(body_text=body_text, **fields), text=arrives + "\r\n")


NAMED = {
    "by name": taken(short(template="Welcome", name="Ann"), **WELCOME),
    "by name in any case": taken(short(template="wELCOME", name="Ann"), **WELCOME),
    "by number": taken(short(template_id=41, name="Ann"), **WELCOME),
    "by number as a string": taken(short(template_id="41", name="Ann"), **WELCOME),
    "template_id that is a name": taken(short(template_id="welcome", name="Ann"), **WELCOME),
    "template that is digits is a name": taken(short(template="43"), **BY_NAME),
    "template_id that is digits is a number": taken(short(template_id="43"), **BY_NUMBER),
    "the name wins": taken(short(template="43", template_id=41), **BY_NAME),
    "in the query beside a body": taken(replace(short(name="Ann"), query="template=welcome"), **WELCOME),
    "by number in the query": taken(replace(short(), query="template_id=43"), **BY_NUMBER),
    "the body's before the query's": taken(replace(short(template_id="43"), query="template=welcome"), **BY_NUMBER),
    "all of it in the query": taken(
        Request(query=urlencode({"to": ANN, "template": "welcome", "name": "Ann"}), content_type=None), **WELCOME
    ),
    "in a form with files": taken(
        replace(
            mail(),
            body=multipart({"to": ANN, "template": "welcome", "template_data[name]": "Ann"}),
            content_type=MULTIPART,
        ),
        **WELCOME,
    ),
    "an unknown name": not_taken(
        short(template="nope"),
        404,
        "Email Template 'nope' not found",
        field="template",
        error_code="TEMPLATE_NOT_FOUND",
    ),
    "an unknown number": not_taken(short(template_id=999), 404, "Email Template '999' not found", field="template_id"),
    "an unknown template in the query": not_taken(
        replace(short(), query="template=nope"), 404, "Email Template 'nope' not found"
    ),
    "a template that is a list": not_taken(
        short(template=["welcome"]), 400, "The field 'template' must be a string or a whole number."
    ),
}

PRECEDENCE = {
    "the template's own sender, recipients and defaults": Row(
        [(short(to=None, template="whole", template_data={"name": "Ann"}), sent(3))],
        [Arrival(("default@x.example", "cc@x.example", "bcc@x.example"), OF_WHOLE, "template@sender.example")],
        service={"fromName": "The Shop", "replyToEmail": "help@sender.example"},
    ),
    "the request's before the template's": Row(
        [(mail(template="whole", **OWN), sent(3))],
        [
            Arrival(
                (ANN, "own@x.example", "hidden@x.example"),
                replace(
                    AS_SENT,
                    sender="F <f@y.example>",
                    cc="own@x.example",
                    reply_to="R <r@y.example>",
                    subject="Own",
                    text="Own.\r\n",
                ),
                "f@y.example",
            )
        ],
    ),
    "the service's where the template has none": Row(
        [(short(template="43"), sent())],
        [arrival(**BY_NAME, sender=f"The Shop <{SENDER}>", reply_to="help@sender.example")],
        service={"fromName": "The Shop", "replyToEmail": "help@sender.example"},
    ),
    "MAIL_FROM_* where neither has one": Row(
        [(short(template="43"), sent())],
        [
            Arrival(
                mail=replace(AS_SENT, **BY_NAME, sender="The Environment <env@sender.example>"),
                reverse_path="env@sender.example",
            )
        ],
        service={"fromEmail": None},
        installation="environment",
    ),
    "a default gives way to a value": Row(
        [(short(to=None, template="whole", greeting="Hi", name="Ann"), sent(3))],
        [
            Arrival(
                ("default@x.example", "cc@x.example", "bcc@x.example"),
                replace(OF_WHOLE, text="Hi, Ann.\r\n"),
                "template@sender.example",
            )
        ],
    ),
    "a required variable without a value stays as it is": Row(
        [(short(to=None, template="whole"), sent(3))],
        [
            Arrival(
                ("default@x.example", "cc@x.example", "bcc@x.example"),
                replace(OF_WHOLE, text="Hello, {name}.\r\n"),
                "template@sender.example",
            )
        ],
    ),
    "a template without a recipient anywhere": not_taken(short(to=None, template="43"), 400, "Invalid email - ''."),
}

PLACEHOLDERS = {
    "a top-level key is a variable": filled("{name}", "Ann", name="Ann"),
    "template_data is one too": filled("{name}", "Ann", template_data={"name": "Ann"}),
    "template_data wins": filled("{name}", "Ann", name="Eve", template_data={"name": "Ann"}),
    "in the subject too": taken(mail(subject="{a} & {b}", a="<x>", template_data={"b": "<y>"}), subject="<x> & <y>"),
    "numbers and booleans": filled("{a} {b} {c} {d}", "1 2.5 true false", a=1, b=2.5, c=True, d=False),
    "null, lists and objects stay as they are": Row(
        [
            (
                mail(body_text="{a} {b} {c}", template_data={"a": None, "b": [1], "c": {"d": 1}}),
                sent(),
            )
        ],
        [arrival(text="{a} {b} {c}\r\n")],
    ),
    "an unknown one stays as it is": filled(
        "{Name} {nam e} {naming} {{name}} {name", "{Name} {nam e} {naming} {Ann} {name", name="Ann"
    ),
    "one pass": filled("{a}", "{b}", a="{b}", b="{a}"),
    "html: template_data is escaped, variables are not": taken(
        mail(
            body_html="<p>{raw}{safe}</p>",
            body_text="{raw}{safe}",
            raw="<b>&</b>",
            template_data={"safe": "<i>\"'</i>"},
        ),
        html="<p><b>&</b>&lt;i&gt;&quot;&#x27;&lt;/i&gt;</p>\r\n",
        text="<b>&</b><i>\"'</i>\r\n",
    ),
    "the keys from and reply_to are variables": filled(
        "{from} {reply_to}", "eve@y.example x", **{"from": "eve@y.example", "reply_to": "x"}
    ),
    "the mail's own fields are placeholders": Row(
        [
            (
                mail(
                    body_text="{from_name} {from_email} {reply_to_name} {reply_to_email} {subject}",
                    subject="For {who}",
                    who="Ann",
                ),
                sent(),
            )
        ],
        [
            arrival(
                text="The Shop me@sender.example Help help@sender.example For Ann\r\n",
                subject="For Ann",
                sender=f"The Shop <{SENDER}>",
                reply_to="Help <help@sender.example>",
            )
        ],
        service={"fromName": "The Shop", "replyToEmail": "help@sender.example", "replyToName": "Help"},
    ),
    "the request's fields are placeholders": Row(
        [(mail(body_text="{from_name}{to}{body_text}", from_name="F"), sent())],
        [arrival(text="F{to}{body_text}\r\n", sender=f"F <{SENDER}>")],
    ),
    "the variables of a form": taken(
        replace(mail(), body=multipart(BODY | {"body_text": "{name}", "name": "Ann"}), content_type=MULTIPART),
        text="Ann\r\n",
    ),
    "template_data that is text": not_taken(
        mail(template_data="Ann"), 400, "The field 'template_data' must be an object.", field="template_data"
    ),
    "a line break that comes by a value": not_taken(
        mail(subject="{a}", a="x\nBcc: eve@x.example"), 400, "Subject must not contain", field="subject"
    ),
}

ROWS = {**NAMED, **PRECEDENCE, **PLACEHOLDERS}
