"""A contact form's key, made as an operator makes it, and what a page asks with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.journeys.doors import CREATE_API_KEY, CREATE_ROLE, CREATE_TEMPLATE, Doors

ORIGIN = "https://www.example.com"
OWNERS = ("desk@owner.example", "boss@owner.example")
EVERYTHING = ["SEND", "READ_MESSAGES", "READ_SERVICES", "MANAGE_SERVICES", "MANAGE_ACCESS", "MANAGE_TEMPLATES"]
CONTACT = {
    "subject": "From the site: {topic}",
    "text": "{name} writes:\n\n{message}",
    "html": "<p>{name} writes:</p><p>{message}</p>",
    "fromEmail": "form@owner.example",
    "fromName": "Contact form",
    "variables": [{"name": "message", "required": True}],
}
SEND = """
  mutation ($input: SendEmailInput!) {
    sendEmail(input: $input) { messageId replayed message { id } userErrors { code field message retryAfter } }
  }
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of `origin` at the client `address`, which holds the key."""

    http: httpx2.AsyncClient
    key: str | None
    template: str
    origin: str | None = ORIGIN
    address: str = "198.51.100.7"

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request of the page."""
        given = {"X-API-Key": self.key, "Origin": self.origin, "X-Forwarded-For": self.address}
        return {name: value for name, value in given.items() if value is not None}

    async def post(self, query: str, **variables: Any) -> httpx2.Response:
        """The whole answer of GraphQL."""
        return await self.http.post(
            "/graphql", json={"query": query, "variables": variables}, headers=self.headers, timeout=60
        )

    async def send(self, **changes: Any) -> Any:
        """The payload of sendEmail, for a mail that is right but for the changes; None in them leaves out."""
        data = {"topic": "Hours", "name": "Vera", "message": "When do you open?"}
        given = {"service": "email", "template": self.template, "templateData": data, **changes}
        asked = {name: value for name, value in given.items() if value is not None}
        body = (await self.post(SEND, input=asked)).json()
        assert "errors" not in body, body
        return body["data"]["sendEmail"]


async def make_page(admin: Doors, grants: Mapping[str, Any] | None = None, **browser: Any) -> Page:
    """A page with a browser key of a role that may do everything; `browser` changes what the key is bound to."""
    made = await admin.graphql.change(CREATE_TEMPLATE, name="Contact", **CONTACT)
    role = await admin.graphql.change(CREATE_ROLE, name="site", grants=[grants or {"actions": EVERYTHING}])
    rules = {
        "origins": [ORIGIN],
        "templates": [made["template"]["id"]],
        "recipients": list(OWNERS),
        "limitsPerClientAddress": {"perMinute": 100},
        **browser,
    }
    created = await admin.graphql.change(CREATE_API_KEY, roleId=role["role"]["id"], name="contact form", browser=rules)
    return Page(admin.http, created["key"], made["template"]["id"])


def codes(payload: Any) -> list[tuple[str, str]]:
    """Path and code of each user error."""
    return [(".".join(error["field"] or ()), error["code"]) for error in payload["userErrors"]]
