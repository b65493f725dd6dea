"""The mutation that gives an API key a new secret."""

from typing import Annotated

import strawberry

from app.access.check import KeyLimits
from app.access.rotate import rotate_api_key
from app.errors import Refusal
from app.graphql.context import Info
from app.graphql.key_types import ApiKey
from app.graphql.roles import key_at, note_access_changed
from app.graphql.types import UserError, user_errors


@strawberry.input(description="Which API key gets a new secret.")
class RotateApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The API key's id.")
    overlap_seconds: int | None = strawberry.field(
        default=None,
        description="How long the present secret goes on working; 0: not at all. Absent or null: as the server is set,"
        " a day by default.",
    )


@strawberry.type(description="The API key with its new secret, or why it has none.")
class RotateApiKeyPayload:
    api_key: ApiKey | None = strawberry.field(description="The API key; its id, role, limits and networks stay.")
    key: str | None = strawberry.field(description="The new secret. It is shown this once and stored nowhere.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def rotate(
    info: Info, input: Annotated[RotateApiKeyInput, strawberry.argument(description="Which one.")]
) -> RotateApiKeyPayload:
    """Give an API key a new secret; the present one goes on working for a while. A present secret that was never used,
    while the one before it still works, is replaced at once. Needs MANAGE_ACCESS."""
    try:
        principal = await info.context.principal()
        key, limits = key_at(input.id, "key"), KeyLimits.from_settings(info.context.parts.settings)
        rotated, text = await rotate_api_key(key, input.overlap_seconds, principal, key_limits=limits)
    except Refusal as refusal:
        return RotateApiKeyPayload(api_key=None, key=None, user_errors=user_errors(refusal))
    note_access_changed(info, input.id)
    return RotateApiKeyPayload(api_key=ApiKey.of(rotated), key=text, user_errors=[])
