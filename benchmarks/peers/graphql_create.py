"""The obvious build of the GraphQL API: Strawberry as it comes, Tortoise creates a row.

python -m benchmarks.peers.graphql_create sqlite://mail.db
"""

import dataclasses
import sys

import strawberry
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL

from benchmarks.peers.serving import serve
from benchmarks.peers.stored import store, storing


@strawberry.input
class MailboxInput:
    email: str
    name: str | None = None


@strawberry.input
class SendEmailInput:
    service: str
    to: list[MailboxInput]
    from_: MailboxInput | None = strawberry.field(name="from", default=None)
    reply_to: MailboxInput | None = None
    subject: str = ""
    text: str | None = None
    html: str | None = None


@strawberry.type
class Message:
    id: strawberry.ID
    state: str


@strawberry.type
class UserError:
    code: str
    field: list[str]
    message: str
    retryable: bool


@strawberry.type
class SendEmailPayload:
    message: Message | None
    user_errors: list[UserError]


@strawberry.type
class Query:
    name: str = "obvious"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def send_email(self, input: SendEmailInput) -> SendEmailPayload:  # noqa: A002 - its name in the API
        made = await store(input.to[0].email, input.subject, dataclasses.asdict(input))
        return SendEmailPayload(message=Message(id=strawberry.ID(str(made)), state="QUEUED"), user_errors=[])


if __name__ == "__main__":
    door: GraphQL[None, None] = GraphQL(strawberry.Schema(query=Query, mutation=Mutation))
    routes = [Route("/graphql", door)]
    serve(Starlette(routes=routes, lifespan=storing(sys.argv[1])))
