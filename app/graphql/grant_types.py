"""The output type of grants."""

from typing import Self, cast

import strawberry

from app.access import models as access
from app.access.principal import Action
from app.graphql.recipient_limits import RecipientLimits
from app.services import models as services

strawberry.enum(Action, description="What a grant allows with its service.")


@strawberry.type(description="What a role may do with one service, or with all of them.")
class Grant:
    service_name: str | None = strawberry.field(description="The service; null stands for all services.")
    actions: list[Action] = strawberry.field(description="What is allowed.")
    limits: RecipientLimits = strawberry.field(
        description="Rate limits of the role with the service; of a grant for all services, with each of them."
    )

    @classmethod
    def of(cls, row: access.Grant) -> Self:
        service = cast(services.Service | None, row.service)
        return cls(
            service_name=service.name if service else None,
            actions=[Action(action) for action in row.actions],
            limits=RecipientLimits.of(row),
        )
