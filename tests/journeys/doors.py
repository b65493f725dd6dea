"""Both doors, as their clients see them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

MESSAGE = """
  id serviceName state messageIdHeader subject
  template { id name version }
  recipients {
    kind email state attemptCount nextAttemptAt detail
    reply { code enhancedCode text }
    attempts { number outcome phase inDoubt detail reply { code enhancedCode text } }
  }
"""
ERRORS = "userErrors { code field message retryable }"
TEMPLATE = "id number name current { number }"
SERVICE = "id name kind isActive host port encryption username hasPassword"


def _mutation(name: str, payload: str) -> str:
    given = f"{name[0].upper()}{name[1:]}Input"
    return f"mutation ($input: {given}!) {{ done: {name}(input: $input) {{ {payload} {ERRORS} }} }}"


SEND_EMAIL = _mutation("sendEmail", f"replayed message {{ {MESSAGE} }}")
CREATE_SERVICE = _mutation("createService", f"service {{ {SERVICE} }}")
UPDATE_SERVICE = _mutation("updateService", f"service {{ {SERVICE} }}")
PAUSE_SERVICE = _mutation("pauseService", f"service {{ {SERVICE} }}")
RESUME_SERVICE = _mutation("resumeService", f"service {{ {SERVICE} }}")
DELETE_SERVICE = _mutation("deleteService", "deletedServiceId cancelledRecipients")
CREATE_TEMPLATE = _mutation("createTemplate", f"template {{ {TEMPLATE} }}")
UPDATE_TEMPLATE = _mutation("updateTemplate", f"template {{ {TEMPLATE} }}")
RESTORE_TEMPLATE_VERSION = _mutation("restoreTemplateVersion", f"template {{ {TEMPLATE} }}")
DELETE_TEMPLATE = _mutation("deleteTemplate", "deletedTemplateId")
CREATE_ROLE = _mutation("createRole", "role { id name }")
CREATE_API_KEY = _mutation("createApiKey", "key apiKey { id }")
ROTATE_API_KEY = _mutation("rotateApiKey", "key apiKey { id }")
UPDATE_API_KEY = _mutation("updateApiKey", "apiKey { id }")
REVOKE_API_KEY = _mutation("revokeApiKey", "apiKey { id revokedAt }")
RETRY_EMAIL = _mutation("retryEmail", "recipients { changed }")
RESCHEDULE_EMAIL = _mutation("rescheduleEmail", "recipients { changed }")
READ_MESSAGE = f"query ($id: ID!) {{ message(id: $id) {{ {MESSAGE} }} }}"
LIST_MESSAGES = f"""
  query ($first: Int!, $filter: MessageFilterInput) {{
    messages(first: $first, filter: $filter) {{ nodes {{ {MESSAGE} }} }}
  }}
"""
PREVIEW_TEMPLATE = f"""
  query ($input: PreviewTemplateInput!) {{
    done: previewTemplate(input: $input) {{
      preview {{ version subject text html missingVariables unfilledPlaceholders }} {ERRORS}
    }}
  }}
"""
LIST_INBOX = "{ inbox(first: 100) { nodes { id } } }"
READ_CAPTURED = """
  query ($id: ID!) {
    capturedMail(id: $id) { reversePath recipients from subject content { text html source } }
  }
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the SMTP server answered."""

    code: int
    enhanced_code: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one recipient."""

    number: int
    outcome: str
    phase: str | None
    in_doubt: bool
    detail: str | None
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient, with every attempt."""

    kind: str
    email: str
    state: str
    attempt_count: int
    next_attempt_at: str | None
    detail: str | None
    reply: Reply | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """The version of a template."""

    id: str
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted mail."""

    id: str
    service_name: str
    state: str
    message_id_header: str
    subject: str | None
    template: MadeFrom | None
    recipients: tuple[Recipient, ...]

    def __getitem__(self, email: str) -> Recipient:
        return next(recipient for recipient in self.recipients if recipient.email == email)


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of userErrors."""

    code: str
    field: tuple[str, ...]
    message: str
    retryable: bool


class Refused(AssertionError):
    """The server said no where a test expected a yes; or the test wants to know why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.code}: {problem.message}" for problem in problems))


class GraphQLClient:
    """POST /graphql with an API key."""

    def __init__(self, http: httpx2.AsyncClient, api_key: str | None) -> None:
        self._http = http
        self._headers = {"X-API-Key": api_key} if api_key else {}

    async def post(self, query: str, **variables: Any) -> httpx2.Response:
        """The whole answer."""
        return await self._http.post(
            "/graphql", json={"query": query, "variables": variables}, headers=self._headers, timeout=60
        )

    async def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer without errors; raises Refused with those there are."""
        response = await self.post(query, **variables)
        body = response.json()
        if "errors" in body:
            raise Refused(
                [
                    Problem(
                        error["extensions"]["code"], (), error["message"], bool(error["extensions"].get("retryable"))
                    )
                    for error in body["errors"]
                ]
            )
        assert response.status_code == 200
        return body["data"]

    async def change(self, mutation: str, **given: Any) -> Any:
        """The payload of a mutation; raises Refused with its userErrors."""
        payload = (await self.ask(mutation, input=given))["done"]
        if payload["userErrors"]:
            raise Refused([_problem(error) for error in payload["userErrors"]])
        return payload

    async def send_email(self, **given: Any) -> Message:
        """The accepted message. Raises Refused."""
        return _message((await self.change(SEND_EMAIL, **given))["message"])

    async def message(self, message_id: str) -> Message:
        """The message of this id, which is there."""
        return _message((await self.ask(READ_MESSAGE, id=message_id))["message"])

    async def messages(self, **conditions: Any) -> list[Message]:
        """The messages that meet the conditions, newest first."""
        found = await self.ask(LIST_MESSAGES, first=100, filter=conditions or None)
        return [_message(node) for node in found["messages"]["nodes"]]

    async def create_service(self, name: str, **given: Any) -> Any:
        """The new service, with a default sender. Raises Refused."""
        given = {"fromEmail": "me@sender.example", "encryption": "NONE", "host": "127.0.0.1"} | given
        return (await self.change(CREATE_SERVICE, name=name, **given))["service"]

    async def create_key(self, *grants: Mapping[str, Any], role: str = "limited") -> str:
        """A new API key of a new role with these grants."""
        made = await self.change(CREATE_ROLE, name=role, grants=grants)
        key: str = (await self.change(CREATE_API_KEY, roleId=made["role"]["id"], name=role))["key"]
        return key

    async def inbox(self) -> list[Any]:
        """What SANDBOX services delivered, newest first."""
        listed = (await self.ask(LIST_INBOX))["inbox"]["nodes"]
        return [(await self.ask(READ_CAPTURED, id=node["id"]))["capturedMail"] for node in listed]


class RestClient:
    """POST /api/v2/{service} with an API key."""

    def __init__(self, http: httpx2.AsyncClient, api_key: str | None) -> None:
        self._http = http
        self._headers = {"X-DreamFactory-API-Key": api_key} if api_key else {}

    async def send(self, service: str, body: Mapping[str, Any], **headers: str) -> httpx2.Response:
        """The whole answer; a header named with underscores is sent with hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._http.post(f"/api/v2/{service}", json=body, headers=self._headers | given, timeout=60)


@dataclass(frozen=True)
class Doors:
    """Both doors of one server."""

    http: httpx2.AsyncClient
    api_key: str | None

    @property
    def graphql(self) -> GraphQLClient:
        """Door one."""
        return GraphQLClient(self.http, self.api_key)

    @property
    def rest(self) -> RestClient:
        """Door two."""
        return RestClient(self.http, self.api_key)

    def with_key(self, api_key: str | None) -> "Doors":
        """The same doors, knocked at with another key."""
        return Doors(self.http, api_key)


def error_of(response: httpx2.Response) -> Any:
    """The error of an envelope, which has always the same four keys and tells its own status."""
    body = response.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert sorted(error) == ["code", "context", "message", "status_code"]
    assert error["status_code"] == response.status_code
    return error


def _message(node: Mapping[str, Any]) -> Message:
    recipients = tuple(_recipient(recipient) for recipient in node["recipients"])
    template = MadeFrom(**node["template"]) if node["template"] else None
    return Message(
        node["id"],
        node["serviceName"],
        node["state"],
        node["messageIdHeader"],
        node["subject"],
        template,
        recipients,
    )


def _recipient(node: Mapping[str, Any]) -> Recipient:
    return Recipient(
        node["kind"],
        node["email"],
        node["state"],
        node["attemptCount"],
        node["nextAttemptAt"],
        node["detail"],
        _reply(node["reply"]),
        tuple(
            Attempt(
                attempt["number"],
                attempt["outcome"],
                attempt["phase"],
                attempt["inDoubt"],
                attempt["detail"],
                _reply(attempt["reply"]),
            )
            for attempt in node["attempts"]
        ),
    )


def _reply(node: Mapping[str, Any] | None) -> Reply | None:
    return None if node is None else Reply(node["code"], node["enhancedCode"], node["text"])


def _problem(node: Mapping[str, Any]) -> Problem:
    return Problem(node["code"], tuple(node["field"] or ()), node["message"], node["retryable"])
