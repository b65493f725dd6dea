"""Where the time of a profile went: layer by layer, what libraries took counted to the layer that called them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

Place = tuple[str, int, str]
Statistics = Mapping[Place, tuple[int, int, float, float, Mapping[Place, tuple[int, int, float, float]]]]

OTHER = "event loop and others"
DATABASE_THREAD = "database thread"
LAYERS: Sequence[tuple[str, Sequence[str]]] = (
    ("HTTP: uvicorn", ("uvicorn/", "app/edge/protocol")),
    ("log", ("app/log", "/logging/")),
    ("edge and routing", ("app/edge/", "app/asgi", "app/request", "starlette/routing", "starlette/middleware",
                          "starlette/applications", "starlette/_exception_handler")),
    ("authentication, role, limits", ("app/access/", "app/limits/")),
    ("reading the body", ("app/rest/request_body", "app/rest/body", "app/rest/form", "app/rest/multipart",
                          "app/json_text", "starlette/requests")),
    ("answer", ("app/rest/", "starlette/responses")),
    ("GraphQL", ("app/graphql/", "strawberry/", "site-packages/graphql/")),
    ("prepare and compose", ("app/submission/", "app/mail/", "app/templates/", "app/services/")),
    ("sign", ("app/mail/dkim", "app/domains/")),
    ("claim", ("app/queue/claim", "app/queue/embedded", "app/queue/pgqueuer", "app/queue/allowance",
               "site-packages/pgqueuer/")),
    ("settle", ("app/queue/settle", "app/queue/attempts", "app/queue/derive", "app/events/")),
    ("accept", ("app/queue/",)),
    ("SMTP", ("app/smtp/", "aiosmtplib/")),
    ("delivery", ("app/delivery/", "app/worker")),
    ("database client", ("app/database/", "tortoise/", "aiosqlite/", "asyncpg/")),
)  # fmt: skip
_FIRST = ("sign",)
_ROUNDS = 40


def layer_of(place: Place) -> str | None:
    """The layer that a function belongs to; None for what works for all: builtins and libraries."""
    file = place[0].replace("\\", "/")
    for name, parts in sorted(LAYERS, key=lambda layer: layer[0] not in _FIRST):
        if any(part in file for part in parts):
            return name
    return OTHER if "/asyncio/" in file or "uvloop" in file else None


def seconds_by_layer(threads: Mapping[str, Statistics]) -> dict[str, float]:
    """The seconds of each layer, in all threads; what the threads of the database did is a layer of its own."""
    totals: dict[str, float] = defaultdict(float)
    for thread, statistics in threads.items():
        found = attributed(statistics)
        if thread != "main" and any("sqlite3." in place[2] for place in statistics):
            totals[DATABASE_THREAD] += sum(found.values())
        else:
            for layer, seconds in found.items():
                totals[layer] += seconds
    return dict(totals)


def attributed(statistics: Statistics) -> dict[str, float]:
    """The seconds of each layer in one thread. A function without a layer passes its time on to its callers, in the
    shares in which it worked for them; what reaches nobody is OTHER."""
    totals: dict[str, float] = defaultdict(float)
    pending = {place: entry[2] for place, entry in statistics.items()}
    for _ in range(_ROUNDS):
        passed: dict[Place, float] = defaultdict(float)
        for place, seconds in pending.items():
            if (layer := layer_of(place)) is not None:
                totals[layer] += seconds
            else:
                _pass_on(place, seconds, statistics, passed, totals)
        pending = passed
        if not pending:
            break
    totals[OTHER] += sum(pending.values())
    return dict(totals)


def _pass_on(
    place: Place, seconds: float, statistics: Statistics, passed: dict[Place, float], totals: dict[str, float]
) -> None:
    callers = statistics[place][4] if place in statistics else {}
    weights = {caller: max(entry[3], 1e-9) for caller, entry in callers.items() if caller != place}
    whole = sum(weights.values())
    if not whole:
        totals[OTHER] += seconds
    for caller, weight in weights.items():
        passed[caller] += seconds * weight / whole
