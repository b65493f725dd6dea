"""The output type of who is asking."""

from typing import Annotated, Self

import strawberry

from app.access.policy import allows
from app.access.principal import FOR_ALL_ONLY, Action, Principal
from app.access.quota import read_standings
from app.clock import now
from app.database.key import public_id
from app.graphql import can_send as permission
from app.graphql.context import Info
from app.graphql.usage import RateLimit
from app.services.manage import find_service
from app.submission.permission import MailQuestion, answer


@strawberry.type(description="Who is asking.")
class Viewer:
    api_key_id: strawberry.ID = strawberry.field(description="Id of the API key of this request.")
    api_key_name: str = strawberry.field(description="Its name.")
    role_id: strawberry.ID = strawberry.field(description="Id of its role.")
    role_name: str = strawberry.field(description="The role's name.")
    actions_on_all_services: list[Action] = strawberry.field(
        description="What is allowed with every service that has no grant of its own."
    )
    principal: strawberry.Private[Principal]

    @strawberry.field(description="What this API key may do with one service; empty when nothing, or no such service.")
    async def actions(
        self, service: Annotated[str, strawberry.argument(description="The service's name, in any case.")]
    ) -> list[Action]:
        row = await find_service(service)
        of_services = (action for action in Action if action not in FOR_ALL_ONLY)
        return [action for action in of_services if row and allows(self.principal, action, row.id)]

    @strawberry.field(description="Whether this API key may send a mail, decided as for a real one; nothing is sent.")
    async def can_send(
        self,
        info: Info,
        service: permission.Service,
        from_: permission.From,
        to: permission.To,
        template: permission.Template = None,
        reply_to: permission.ReplyTo = None,
    ) -> permission.MailPermission:
        question = MailQuestion(service, from_, tuple(to), template, reply_to)
        return permission.MailPermission.of(await answer(question, self.principal, info.context.parts.settings))

    @strawberry.field(
        description="How much of each rate limit of the role and of the API key is used; with `service`, of the role's"
        " limits with that service, too."
    )
    async def rate_limit(
        self,
        info: Info,
        service: Annotated[
            str | None, strawberry.argument(description="The service's name, in any case; one the key may send with.")
        ] = None,
    ) -> list[RateLimit]:
        row = await find_service(service) if service else None
        service_id = row.id if row and allows(self.principal, Action.SEND, row.id) else None
        quotas = info.context.parts.submitter.quotas(self.principal, service_id)
        return [RateLimit.of(standing) for standing in await read_standings(quotas, now())]

    @classmethod
    def of(cls, principal: Principal) -> Self:
        return cls(
            api_key_id=strawberry.ID(public_id("key", principal.api_key_id)),
            api_key_name=principal.api_key_name,
            role_id=strawberry.ID(public_id("role", principal.role_id)),
            role_name=principal.role_name,
            actions_on_all_services=[action for action in Action if allows(principal, action, None)],
            principal=principal,
        )
