"""The shorter way to the doors: whatever is known of a path, it leads where it led before."""

import pytest
from starlette.types import Receive, Scope, Send

from app.edge.doors import Doors


@pytest.mark.parametrize(
    ("path", "led"),
    [
        ("/graphql", "graphql"),
        ("/graphql/", "routes"),
        ("/api/v2/relay", "relay"),
        ("/api/v2/" + "x" * 300, "x" * 300),
        ("/api/v2/", "routes"),
        ("/api/v2/a/b", "routes"),
        ("/api/v2/" + "x" * 300 + "/b", "routes"),
    ],
)
async def test_a_post_goes_to_the_door_of_its_path(path: str, led: str) -> None:
    seen: list[str] = []

    async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append("graphql")

    async def service(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path_params"]["service"])

    async def routes(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append("routes")

    async def unused() -> dict[str, object]:
        return {}

    async def unsent(message: object) -> None:
        pass

    doors = Doors({"/graphql": graphql}, service).before(routes)
    for _ in range(2):
        await doors({"type": "http", "method": "POST", "path": path}, unused, unsent)
    await doors({"type": "http", "method": "GET", "path": path}, unused, unsent)
    assert seen == [led, led, "routes"]
