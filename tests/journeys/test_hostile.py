"""Header injection, smuggling, bad base64, names that are paths, odd types: refused, or nothing but text."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2
import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from tests.journeys.conftest import Arrival, Peer, Running
from tests.journeys.contract import FORM, JSON, MULTIPART, multipart
from tests.journeys.doors import Doors, error_of
from tests.journeys.hostile import PAYLOADS, Place, as_json, assert_harmless
from tests.journeys.hostile_places import ADDRESS, GRAPHQL, IN_A_FORM, PLAIN, REST
from tests.journeys.program import ADMIN_KEY, ROOT

SEND = "mutation ($input: SendEmailInput!) { sendEmail(input: $input) { message { id } userErrors { field message } } }"
UNREADABLE = re.compile(
    "Invalid or malformed JSON|The body is not JSON in UTF-8|The multipart body cannot be read|.* is not valid UTF-8"
)


@dataclass(frozen=True)
class Said:
    """What a door answered: taken, or the field and the words of its refusal."""

    taken: bool
    field: str = ""
    message: str = ""


Knock = Callable[[Doors, dict[str, Any]], Awaitable[Said]]


async def by_graphql(doors: Doors, given: dict[str, Any]) -> Said:
    to = [{"email": given["to"]}]
    asked = {"service": "relay", "subject": "Hello", "text": "Hello.", **given, "to": to}
    headers = {"X-API-Key": ADMIN_KEY, "Content-Type": JSON}
    body = as_json({"query": SEND, "variables": {"input": asked}})
    response = await doors.http.post("/graphql", content=body, headers=headers, timeout=60)
    assert_nothing_leaked(response)
    answer = response.json()
    if answer.get("errors"):
        assert response.status_code in (200, 400)
        assert answer["errors"][0]["extensions"]["code"] != "INTERNAL"
        return Said(False, message=answer["errors"][0]["message"])
    payload = answer["data"]["sendEmail"]
    if payload["message"]:
        return Said(True)
    problem = payload["userErrors"][0]
    return Said(False, ".".join(problem["field"]), problem["message"])


async def post(doors: Doors, body: bytes, content_type: str | None, query: str = "") -> Said:
    headers = {"X-API-Key": ADMIN_KEY, "Prefer": "respond-async"}
    headers |= {"Content-Type": content_type} if content_type else {}
    url = f"/api/v2/relay?{query}" if query else "/api/v2/relay"
    response = await doors.http.post(url, content=body, headers=headers, timeout=60)
    assert_nothing_leaked(response)
    if response.status_code == 202:
        assert response.json() in ({"count": 1}, {"count": 2})
        return Said(True)
    error = error_of(response)
    assert response.status_code in (400, 404, 413)
    return Said(False, (error["context"] or {}).get("field", ""), error["message"])


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"subject": "Hello", "body_text": "Hello.", **given}


async def by_json(doors: Doors, given: dict[str, Any]) -> Said:
    return await post(doors, as_json(completed(given)), JSON)


async def by_form(doors: Doors, given: dict[str, Any]) -> Said:
    return await post(doors, urlencode(completed(given), errors="surrogatepass").encode(), FORM)


async def by_query(doors: Doors, given: dict[str, Any]) -> Said:
    return await post(doors, b"", None, urlencode(completed(given), errors="surrogatepass"))


async def by_multipart(doors: Doors, given: dict[str, Any]) -> Said:
    return await post(doors, multipart(completed(given)), MULTIPART)


async def by_file(doors: Doors, given: dict[str, Any]) -> Said:
    field, name, content_type = given.pop("file")
    return await post(doors, multipart(completed(given), (field, name, content_type, b"octets")), MULTIPART)


WAYS: dict[str, tuple[Knock, dict[str, Place]]] = {
    "GraphQL": (by_graphql, GRAPHQL),
    "JSON": (by_json, REST | ADDRESS),
    "a form": (by_form, PLAIN),
    "a form with files": (by_multipart, PLAIN),
    "a query": (by_query, PLAIN),
    "a file of a form": (by_file, IN_A_FORM),
}


def assert_nothing_leaked(response: httpx2.Response) -> None:
    for secret in (ADMIN_KEY, str(ROOT), "site-packages", "Traceback", ".py"):
        assert secret not in response.text


@pytest.fixture
async def relay(sqlite_running: Running, peer: Peer) -> AsyncIterator[Doors]:
    async with sqlite_running() as doors:
        await doors.graphql.create_service("relay", port=peer.port)
        yield doors


@pytest.mark.parametrize(
    ("peer", "way", "step"),
    [
        *(("our receiver", way, 1 if way in ("GraphQL", "JSON") else 3) for way in WAYS),
        *(("aiosmtpd", way, 3) for way in ("GraphQL", "JSON")),
    ],
    indirect=["peer"],
)
async def test_what_is_hostile_is_refused_or_nothing_but_text(way: str, step: int, relay: Doors, peer: Peer) -> None:
    """Everything in every place, twice; where only the body's format or the peer differs, every third thing in each."""
    knock, places = WAYS[way]
    payloads = [payload for payload in PAYLOADS if way != "a query" or len(payload) < 10_000]  # as long as a URL may be
    trials = {
        f"r{number}@x.example": (name, payload)
        for number, (name, payload) in enumerate(
            (name, payload) for offset, name in enumerate(places) for payload in payloads[offset % step :: step]
        )
    }
    turn, taken = asyncio.Semaphore(8), set[str]()

    async def attempt(key: str, name: str, payload: str) -> None:
        async with turn:
            said = await knock(relay, {"to": key, **places[name].put(payload)})
        if said.taken:
            taken.add(key)
        else:
            assert_names(said, places[name], f"{name} {payload[:80]!r}")

    await asyncio.gather(*(attempt(key, *trial) for key, trial in trials.items()))
    arrivals = await arrived(peer, len(taken))
    assert Counter(arrival.recipients[0] for arrival in arrivals) == Counter(taken)
    assert [harm for arrival in arrivals if (harm := harm_of(arrival, trials, places))] == []


def harm_of(arrival: Arrival, trials: Mapping[str, tuple[str, str]], places: Mapping[str, Place]) -> str | None:
    key = arrival.recipients[0]
    name, payload = trials[key]
    try:
        assert_harmless(arrival, key, places[name], payload)
    except Exception as error:
        return f"{name}: {payload[:100]!r}: {type(error).__name__} {error}"[:1000]
    return None


def assert_names(said: Said, place: Place, what: str) -> None:
    names = any(word in said.field or word in said.message for word in place.named)
    assert names or UNREADABLE.match(said.message), (what, said)


ANY_PLACE = [(way, name) for way, (_, places) in WAYS.items() for name in places if name not in ADDRESS]
ODD = st.sampled_from('ab .\r\n\t\x00\x0b\x0c\x85\u2028=?<>@,;:"\\/(){}%&é🎉')


@hypothesis.settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@hypothesis.given(place=st.sampled_from(ANY_PLACE), text=st.text(ODD | st.characters(codec="utf-8"), max_size=60))
async def test_any_text_is_refused_or_nothing_but_text(
    relay: Doors, peer: Peer, place: tuple[str, str], text: str
) -> None:
    (knock, places), name = WAYS[place[0]], place[1]
    before = len(peer.arrivals)
    said = await knock(relay, {"to": "r@x.example", **places[name].put(text)})
    if said.taken:
        arrivals = (await arrived(peer, before + 1))[before:]
        assert [harm_of(arrival, {"r@x.example": (name, text)}, places) for arrival in arrivals] == [None]
    else:
        assert_names(said, places[name], f"{name} {text!r}")


async def arrived(peer: Peer, number: int) -> list[Arrival]:
    async with asyncio.timeout(60):
        while len(peer.arrivals) < number:  # noqa: ASYNC110 - one of the servers has no event for it
            await asyncio.sleep(0.02)
    return peer.arrivals
