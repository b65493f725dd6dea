# mypy: disable-error-code="untyped-decorator"
"""A schema of a few fields, of the shape of the real one, for tests of what stands in front of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import strawberry
from starlette.requests import HTTPConnection
from strawberry.scalars import JSON

from app.errors import ErrorCode, Forbidden, InvalidInput, Unauthenticated, Unavailable
from app.graphql.cost import OperationLimits, limit_extensions
from app.graphql.errors import MaskedSchema

SECRET = "hunter2-in-an-exception"
INIT_TIMEOUT = 10
MAX_BODY_BYTES = 100_000
MAX_URL_CHARS = 2_000
MAX_JSON_VALUES = 10_000
MAX_DOCUMENT_CHARS = 50_000
MAX_OPERATIONS_PER_SOCKET = 3
MAX_SOCKETS_PER_KEY = 2


@dataclass
class Context:
    api_key: str | None
    connection_params: dict[str, object] | None = None
    calls: int = 0
    unseen: bool = False


async def make_context(connection: HTTPConnection) -> Context:
    key = connection.headers.get("x-api-key")
    if key == "wrong":
        raise Unauthenticated("This API key is not known.", code=ErrorCode.INVALID_API_KEY)
    if key == "powerless":
        raise Forbidden("This role may not use GraphQL.")
    if key == "too early":
        raise Unavailable("The database is starting.")
    if key == "down":
        raise ConnectionRefusedError(SECRET)
    if key == "bug":
        raise LookupError(SECRET)
    return Context(key)


async def connect(context: Context) -> str:
    context.api_key = str((context.connection_params or {}).get("X-API-Key"))
    if context.api_key == "wrong":
        raise Unauthenticated("This API key is not known.")
    if context.api_key == "down":
        raise ConnectionRefusedError(SECRET)
    return context.api_key


@strawberry.type(description="What an SMTP server answered.")
class Reply:
    code: int
    enhanced_code: str | None
    text: str


@strawberry.type
class Recipient:
    email: str
    state: str
    reply: Reply | None


@strawberry.type
class Message:
    id: strawberry.ID
    state: str
    recipients: list[Recipient]


@strawberry.type
class UserError:
    code: str
    field: list[str] | None
    message: str
    retryable: bool


@strawberry.type
class SendEmailPayload:
    message: Message | None
    user_errors: list[UserError]


@strawberry.input
class RecipientInput:
    email: str
    name: str | None = None


@strawberry.input
class SendEmailInput:
    service: str = strawberry.field(description="The name of the service that shall send the mail.")
    to: list[RecipientInput]
    subject: str
    text: str | None = None
    html: str | None = None
    wait_seconds: int | None = None


@strawberry.type
class Query:
    me: "Query" = strawberry.field(resolver=lambda: Query(), description="The same again, for depth.")

    @strawberry.field(description="The API key that came with the request.")
    def api_key(self, info: strawberry.Info[Context]) -> str | None:
        return info.context.api_key

    @strawberry.field
    def times(self, number: int = 2, by: int = 3) -> int:
        return number * by

    @strawberry.field
    def echo(self, value: JSON) -> JSON:
        return value

    @strawberry.field
    def bug(self) -> int | None:
        raise RuntimeError(SECRET)

    @strawberry.field
    def wide(self) -> int | None:
        return 2**40

    @strawberry.field
    def refused(self) -> int | None:
        raise InvalidInput("No such service.", code=ErrorCode.SERVICE_NOT_FOUND, field=("input", "service"))

    @strawberry.field
    def unavailable(self) -> int:
        raise Unavailable("Try again later.")

    @strawberry.field
    def database_is_down(self) -> int | None:
        raise ConnectionRefusedError(SECRET)

    @strawberry.field
    def unencodable(self) -> JSON:
        return JSON({"number": 2**70})


@strawberry.type
class Mutation:
    @strawberry.mutation(description="Send one mail to one or more recipients.")
    def send_email(self, info: strawberry.Info[Context], input: SendEmailInput) -> SendEmailPayload:  # noqa: A002
        if info.context.api_key is None:
            raise Unauthenticated("Send an API key in the header X-API-Key.")
        reply = Reply(code=250, enhanced_code="2.0.0", text="taken")
        recipients = [Recipient(email=mailbox.email, state="SENT", reply=reply) for mailbox in input.to]
        message = Message(id=strawberry.ID("m1"), state="SENT", recipients=recipients)
        return SendEmailPayload(message=message, user_errors=[])

    @strawberry.mutation
    def count(self, info: strawberry.Info[Context]) -> int:
        info.context.calls += 1
        return info.context.calls

    @strawberry.mutation
    def count_unseen(self, info: strawberry.Info[Context]) -> int | None:
        info.context.unseen = True
        return None


@strawberry.type
class Subscription:
    @strawberry.subscription(description="Counts up to `to`.")
    async def counting(self, to: int) -> AsyncIterator[int]:
        for number in range(1, to + 1):
            yield number

    @strawberry.subscription
    async def key_seen(self, info: strawberry.Info[Context]) -> AsyncIterator[str]:
        yield str(info.context.api_key)

    @strawberry.subscription
    async def silence(self) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 0

    @strawberry.subscription
    async def breaking(self) -> AsyncIterator[int]:
        yield 1
        raise RuntimeError(SECRET)


def tiny_schema(limits: OperationLimits | None = None) -> MaskedSchema:
    return MaskedSchema(Query, Mutation, Subscription, extensions=limit_extensions(limits or OperationLimits()))


def code_of(response: httpx2.Response) -> str:
    """The code of the only error of a body that has nothing but errors."""
    body = response.json()
    assert list(body) == ["errors"]
    [error] = body["errors"]
    assert error["message"]
    return str(error["extensions"]["code"])
