"""How long GraphQL documents that cost much are in being refused, and what a neighbour notices of it.

    python -m benchmarks.hostile_documents --rounds 5

Sends each document `--rounds` times, without an API key, to a `heliograph serve` of its own, while another client asks
it for `{ __typename }` without a pause. Prints the shortest and the longest time until the refusal, and the neighbour's
longest wait. The exit status is 1 when something is not refused, or the shortest refusal or the longest wait is above
`--refused-within` or `--ping-within` milliseconds. Requests of ten megabytes and more take longer than that to arrive,
so of these only the neighbour's wait counts.
"""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import httpx2

from tests.journeys.installation import database_options, new_installation
from tests.journeys.program import Heliograph

CODES = {"OPERATION_LIMIT_EXCEEDED", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "TOO_LARGE"}
HEADERS = {"Accept": "application/graphql-response+json", "Content-Type": "application/json"}
VIEWER = "viewer { roleName }"


def repeated(text: str, times: int) -> str:
    """The text `times` times, each with its number for `#`."""
    return " ".join(text.replace("#", str(number)) for number in range(times))


DOCUMENTS: Mapping[str, str] = {
    "2^60 spreads": "{ ...f60 } fragment f0 on Query { __typename } "
    + " ".join(f"fragment f{n + 1} on Query {{ ...f{n} ...f{n} }}" for n in range(60)),
    "10,000 aliases": "{" + repeated("a#: __typename", 10_000) + "}",
    "5,000 directives": "{ __typename " + repeated("@skip(if: false)", 5_000) + "}",
    "3,000 operations": repeated("query q# { __typename }", 3_000),
    "240 times one field": "{" + repeated(VIEWER, 240) + "}",
    "a chain of 140 fragments": "{ ...f0 } fragment f140 on Query { __typename } "
    + " ".join(f"fragment f{n} on Query {{ {VIEWER} ...f{n + 1} }}" for n in range(140)),
    "490 unknown fields": "{" + repeated("mesage#", 490) + "}",
    "250 fragments on an unknown type": "{ __typename } " + repeated("fragment f# on Qery { a }", 250),
    "480 unknown variables": "query(" + repeated("$a#: Sendd#", 480) + ") { __typename }",
    "900 levels": "{ node " * 900,
    "a string of 50,000": '{ message(id: """' + "x\n" * 24_950 + '""") { nothing } }',
    "a string of 10,000,000": '{ message(id: "' + "x" * 10_000_000 + '") { id } }',
    "a comment of 10,000,000": "{ __typename } # " + "x" * 10_000_000,
}


def bodies() -> dict[str, bytes]:
    """The body of each request, by what is hostile about it."""
    posted = {name: f'{{"query": "{_escaped(text)}"}}'.encode() for name, text in DOCUMENTS.items()}
    wide = '{"query": "{ __typename }", "variables": {"x": [' + "[]," * 13_000_000 + "0]}}"
    return posted | {"13,000,000 lists in a variable": wide.encode()}


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one kind of request: status and code of each answer, its times and the neighbour's, in ms."""

    name: str
    is_large: bool
    answers: frozenset[tuple[int, str]]
    times: Sequence[float]
    longest_ping: float

    def broken(self, refused_within: float, ping_within: float) -> Iterator[str]:
        """What is not as it must be."""
        if not all(status in (400, 413) and code in CODES for status, code in self.answers):
            yield f"{self.name}: not refused, but {sorted(self.answers)}"
        if not self.is_large and min(self.times) > refused_within:
            yield f"{self.name}: refused after {min(self.times):.0f} ms, above {refused_within:g}"
        if self.longest_ping > ping_within:
            yield f"{self.name}: the neighbour waited {self.longest_ping:.0f} ms, above {ping_within:g}"

    def __str__(self) -> str:
        codes = ", ".join(sorted(code for _, code in self.answers))
        times = f"{min(self.times):7.0f} {max(self.times):7.0f} {self.longest_ping:7.0f}"
        return f"{self.name:34} {times}   {codes}"


async def hostile_documents(installed: Heliograph, rounds: int) -> list[Finding]:
    """Serve, and send everything, one kind after the other."""
    await installed.migrate()
    async with installed.serving() as server, httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
        return [await _send(http, name, body, rounds) for name, body in bodies().items()]


async def _send(http: httpx2.AsyncClient, name: str, body: bytes, rounds: int) -> Finding:
    answers, times = set(), []
    stop = asyncio.Event()
    neighbour = asyncio.create_task(_ping(http, stop))
    for _ in range(rounds):
        began = perf_counter()
        response = await http.post("/graphql", content=body, headers=HEADERS, timeout=120)
        times.append((perf_counter() - began) * 1000)
        codes = {error["extensions"]["code"] for error in response.json().get("errors", ())}
        answers |= {(response.status_code, code) for code in codes or {"none"}}
    stop.set()
    return Finding(name, len(body) > 1_000_000, frozenset(answers), times, await neighbour)


async def _ping(http: httpx2.AsyncClient, stop: asyncio.Event) -> float:
    longest = 0.0
    while not stop.is_set():
        began = perf_counter()
        response = await http.post("/graphql", json={"query": "{ __typename }"}, timeout=120)
        assert response.status_code == 200, response.text
        longest = max(longest, (perf_counter() - began) * 1000)
    return longest


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def main() -> int:
    """The program; returns its exit status."""
    parser = database_options(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each document is sent")
    parser.add_argument("--refused-within", type=float, default=100, help="ms that the shortest refusal may take")
    parser.add_argument("--ping-within", type=float, default=1000, help="ms that the neighbour may wait")
    options = parser.parse_args()
    with new_installation(options) as installed:
        findings = asyncio.run(hostile_documents(installed, options.rounds))
    print(f"{'ms':34} {'min':>7} {'max':>7} {'ping':>7}")
    print(*findings, sep="\n")
    bounds = options.refused_within, options.ping_within
    broken = [f"BROKEN: {promise}" for finding in findings for promise in finding.broken(*bounds)]
    print("\n".join(broken) or "every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
