"""Keyset pages: a cursor is the key of an item, never an offset."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

import strawberry

from app.database.key import parse_public_id
from app.errors import InvalidInput
from app.graphql.types import Connection, Edge, PageInfo

MAX_FIRST = 100

First = Annotated[int, strawberry.argument(description="How many, from 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="Start behind this cursor.")]

Row = TypeVar("Row")
Shown = TypeVar("Shown")


async def page(
    first: int,
    after: str | None,
    kind: str,
    load: Callable[[UUID | None, int], Awaitable[Sequence[Row]]],
    show: Callable[[Row], Shown],
) -> Connection[Shown]:
    """The page of `first` items behind the cursor `after`. `load(after, limit)` reads rows, `show` makes nodes of
    them; `kind` is that of the nodes' ids, which serve as cursors. Raises InvalidInput."""
    if not 1 <= first <= MAX_FIRST:
        raise InvalidInput(f"first must be from 1 to {MAX_FIRST}.", field=("first",))
    found = await load(_key(after, kind), first + 1)
    nodes: list[Any] = [show(row) for row in found[:first]]
    edges = [Edge(cursor=str(node.id), node=node) for node in nodes]
    info = PageInfo(
        has_next_page=len(found) > first,
        has_previous_page=after is not None,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Connection(edges=edges, nodes=nodes, page_info=info)


def key_of(text: str, kind: str) -> UUID | None:
    """The key in an id of this kind; None for any other text, which then names nothing."""
    parsed = parse_public_id(text)
    return parsed[1] if parsed and parsed[0] == kind else None


def _key(after: str | None, kind: str) -> UUID | None:
    if after is None:
        return None
    key = key_of(after, kind)
    if key is None:
        raise InvalidInput("after is not a cursor of this list.", field=("after",))
    return key
