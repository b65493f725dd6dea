"""The requests that are sent: a REST body of 0.9 KB, and a GraphQL body of 1.1 KB, with @SEQ@ for their number."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SEQUENCE = "@SEQ@"
DIGITS = 8
SENDER = "shop@sender.example"
SERVICE = "relay"
SUBJECT = f"Your order {SEQUENCE} is on its way"
RECIPIENT = f"m{SEQUENCE}@load.example"
TEXT = (
    "Hello,\n\nyour order left our warehouse this morning and will be with you on Thursday between nine and eleven."
    "\nYou can follow it at https://shop.example/orders.\n\nThank you for buying from us.\nThe shop\n"
)
HTML = (
    "<p>Hello,</p><p>your order left our warehouse this morning and will be with you on <b>Thursday</b> between nine"
    ' and eleven. You can <a href="https://shop.example/orders">follow it</a>.</p><p>Thank you for buying from us.<br>'
    "The shop</p>"
)
SEND_EMAIL = (
    "mutation Send($input: SendEmailInput!) { sendEmail(input: $input) { message { id state } userErrors { code field"
    " message retryable } } }"
)
REST_BYTES = 920
GRAPHQL_BYTES = 1120


@dataclass(frozen=True, slots=True)
class Post:
    """A request as it is sent, with @SEQ@ for its number."""

    path: str
    headers: Mapping[str, str]
    body: str

    def raw(self) -> str:
        """With its header section; every number has DIGITS digits, so the length is the same for all."""
        size = len(self.body.replace(SEQUENCE, "0" * DIGITS).encode())
        fields = {"Host": "bench", "Content-Type": "application/json", **self.headers, "Content-Length": str(size)}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]) + self.body


def rest_post(api_key: str, path: str = f"/api/v2/{SERVICE}") -> Post:
    """A mail through the REST route that does not wait for its verdict."""
    mail = {
        "to": [{"email": RECIPIENT, "name": "Ada Customer"}],
        "from_email": SENDER,
        "from_name": "The shop",
        "reply_to_email": "help@sender.example",
        "subject": SUBJECT,
        "body_html": HTML,
    }
    body = _filled(lambda text: json.dumps(mail | {"body_text": text}), REST_BYTES)
    return Post(path, {"X-API-Key": api_key, "Prefer": "respond-async"}, body)


def graphql_post(api_key: str) -> Post:
    """The same mail through GraphQL, with variables."""
    mail = {
        "service": SERVICE,
        "to": [{"email": RECIPIENT, "name": "Ada Customer"}],
        "from": {"email": SENDER, "name": "The shop"},
        "replyTo": {"email": "help@sender.example"},
        "subject": SUBJECT,
        "html": HTML,
    }

    def body(text: str) -> str:
        variables = {"input": mail | {"text": text}}
        return json.dumps({"query": SEND_EMAIL, "operationName": "Send", "variables": variables})

    return Post("/graphql", {"X-API-Key": api_key}, _filled(body, GRAPHQL_BYTES))


def _filled(make: Callable[[str], str], size: int) -> str:
    """The body with a text of such a length that it has `size` octets, if that is not less than none."""
    text = TEXT * (1 + size // len(TEXT))
    while text and len(make(text).replace(SEQUENCE, "0" * DIGITS)) > size:
        text = text[:-1]
    return make(text)
