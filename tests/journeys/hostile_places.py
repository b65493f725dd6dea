"""Every place of both doors that takes text."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from tests.journeys.hostile import (
    Place,
    body,
    display_name,
    field,
    file_name,
    file_text,
    harmless_name,
    no_path,
    of_file,
    same,
    same_lines,
    same_lines_escaped,
    same_name,
)

REPLY_TO = frozenset({"Reply-To"})
EXTRA = frozenset({"X-Extra"})
FILE = {"name": "a.txt", "content": b64encode(b"octets").decode()}
HTML = "<p>It works.</p>"


def local_part(text: str) -> str:
    """An address that holds the text."""
    return f"{text}@evil.example"


def raw_base64(text: str) -> dict[str, Any]:
    """The text in place of base64."""
    return {"attachments": [FILE | {"content": text}]}


def encoded(text: str) -> str:
    """As the content of a file."""
    return b64encode(text.encode(errors="surrogatepass")).decode()


def filling(part: str, by: str) -> Callable[[str], dict[str, Any]]:
    """The text as the value that fills a placeholder of this part."""

    def put(text: str) -> dict[str, Any]:
        values = {by: {"value": text}} if by else {"value": text}
        return {part: "{value}", **values}

    return put


def places(names: dict[str, str]) -> dict[str, Place]:
    """Those that both doors have, `names` being what a door calls them."""
    text, html, data, kind, cid = (names[name] for name in ("text", "html", "data", "type", "id"))
    by_data = {
        f"{data} in the subject": Place(filling("subject", data), ("subject", data), field("Subject"), same),
        f"{data} in the text": Place(filling(text, data), (text, data), body("plain"), same_lines),
        f"{data} in the html": Place(filling(html, data), (html, data), body("html"), same_lines_escaped),
    }
    files = {
        "a file's name": Place(
            lambda text: {"attachments": [FILE | {"name": text}]}, ("name",), of_file(file_name), no_path
        ),
        "a file's type": Place(lambda text: {"attachments": [FILE | {kind: text}]}, (kind,)),
        "a file's id": Place(lambda text: {html: HTML, "attachments": [FILE | {cid: text}]}, (cid,)),
        "a file": Place(
            lambda text: {"attachments": [FILE | {"content": encoded(text)}]}, ("content",), of_file(file_text), same
        ),
        "a file's base64": Place(raw_base64, ("content",)),
    }
    return {
        "subject": Place(lambda text: {"subject": text}, ("subject",), field("Subject"), same),
        "text": Place(lambda given: {text: given}, (text,), body("plain"), same_lines),
        "html": Place(lambda given: {html: given}, (html,), body("html"), same_lines),
        "a name": Place(
            lambda text: {"cc": [{"email": "cc@evil.example", "name": text}]},
            ("name",),
            display_name("Cc"),
            same_name,
            others=lambda _: ("cc@evil.example",),
        ),
        "an address": Place(
            lambda text: {"cc": [{"email": local_part(text)}]}, ("email",), others=lambda text: (local_part(text),)
        ),
        **by_data,
        **files,
    }


NAMES = {"text": "text", "html": "html", "data": "templateData", "type": "contentType", "id": "contentId"}
REST_NAMES = {
    "text": "body_text",
    "html": "body_html",
    "data": "template_data",
    "type": "content_type",
    "id": "content_id",
}

GRAPHQL = places(NAMES) | {
    "the sender's name": Place(
        lambda text: {"from": {"email": "me@sender.example", "name": text}}, ("name",), display_name("From"), same_name
    ),
    "the name of reply-to": Place(
        lambda text: {"replyTo": {"email": "r@sender.example", "name": text}},
        ("name",),
        display_name("Reply-To"),
        same_name,
        REPLY_TO,
    ),
    "the address of reply-to": Place(lambda text: {"replyTo": {"email": local_part(text)}}, ("email",), more=REPLY_TO),
    "a header": Place(
        lambda text: {"headers": [{"name": "X-Extra", "value": text}]}, ("value",), field("X-Extra"), same, EXTRA
    ),
    "a header's name": Place(lambda text: {"headers": [{"name": text, "value": "x"}]}, ("name",), is_a_name=True),
    "a tag": Place(lambda text: {"tags": [text]}, ("tags",)),
    "metadata": Place(lambda text: {"metadata": {text: text}}, ("metadata",)),
    "the template": Place(lambda text: {"template": f"t{text}"}, ("template",)),
    "the idempotency key": Place(lambda text: {"idempotencyKey": f"k{text}"}, ("idempotencyKey",)),
}

ADDRESS = {
    "addresses in a string": Place(
        lambda text: {"cc": text},
        ("email", "name", "cc"),
        others=lambda text: (text.strip("<>"),) if text.strip() else (),
    ),
}

PLAIN = {
    "subject": places(REST_NAMES)["subject"],
    "text": places(REST_NAMES)["text"],
    "html": places(REST_NAMES)["html"],
    "the sender's name": Place(lambda text: {"from_name": text}, ("from_name",), display_name("From"), same_name),
    "a variable in the subject": Place(filling("subject", ""), ("subject", "variables"), field("Subject"), same),
    "a variable in the text": Place(filling("body_text", ""), ("body_text", "variables"), body("plain"), same_lines),
    "a variable in the html": Place(filling("body_html", ""), ("body_html", "variables"), body("html"), same_lines),
    "a variable's name": Place(lambda text: {f"v{text}": "x"}, ("variables", "v")),
    "the template": Place(lambda text: {"template": f"t{text}"}, ("template",)),
    "the template's id": Place(lambda text: {"template_id": f"t{text}"}, ("template_id",)),
}
"""Those that a form and a query have as well."""

REST = (
    places(REST_NAMES)
    | PLAIN
    | {
        "the name of reply-to": Place(
            lambda text: {"reply_to_email": "r@sender.example", "reply_to_name": text},
            ("reply_to_name",),
            display_name("Reply-To"),
            same_name,
            REPLY_TO,
        ),
        "the address of reply-to": Place(
            lambda text: {"reply_to_email": local_part(text)}, ("reply_to_email",), more=REPLY_TO
        ),
        "a link": Place(lambda text: {"attachment": f"/{text}"}, ("attachment",)),
    }
)

IN_A_FORM = {
    "the name of a file": Place(
        lambda text: {"file": ("file", text, "text/plain")}, ("name",), of_file(file_name), harmless_name
    ),
    "the type of a file": Place(
        lambda text: {"file": ("file", "a.txt", text)}, ("content_type",), of_file(file_name), harmless_name
    ),
    "the field of a file": Place(
        lambda text: {"file": (text, "a.txt", "text/plain")}, ("name",), of_file(file_name), harmless_name
    ),
}
"""Those of the header of a part."""
