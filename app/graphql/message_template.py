"""The output type of what a mail was made from."""

import strawberry

from app.database.key import public_id
from app.queue.lookup import StoredMessage
from app.templates.find import TEMPLATE_KIND


@strawberry.type(description="The version of a stored template that a mail was made from.")
class MessageTemplate:
    id: strawberry.ID = strawberry.field(description="The template's id; kept when the template is deleted.")
    name: str = strawberry.field(description="The name it had.")
    version: int = strawberry.field(description="The version that was current.")

    @classmethod
    def of(cls, row: StoredMessage) -> "MessageTemplate | None":
        if row.template_id is None or row.template_name is None or row.template_version is None:
            return None
        key = strawberry.ID(public_id(TEMPLATE_KIND, row.template_id))
        return cls(id=key, name=row.template_name, version=row.template_version)
