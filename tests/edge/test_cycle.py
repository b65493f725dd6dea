"""An answer goes out as uvicorn would write it, whatever it is."""

import asyncio
import logging
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.answer import WHOLE, Header
from app.edge.cycle import OnePieceCycle

Message = dict[str, Any]

LENGTH = (b"content-length", b"2")
DATE = (b"date", b"today")

names = st.sampled_from([b"x-a", b"X-B", b"vary", b"x-%b%", b"bad name", b"", b"connection", b"transfer-encoding"])
values = st.sampled_from([b"", b"plain", b"a\tb", b"%s%", b"close", b"chunked", b"a\r\nb", b"\x7f", b"\xff"])
lengths = st.sampled_from([b"0", b"2", b"3", b"-1", b"two"]).map(lambda value: (b"content-length", value))
fields = st.lists(st.one_of(st.tuples(names, values), lengths, st.just(LENGTH)), max_size=5)
starts = st.builds(
    lambda status, header: {"type": "http.response.start", "status": status, "headers": header},
    st.sampled_from([200, 202, 204, 304, 500]),
    fields,
)
bodies = st.builds(
    lambda body, more: {"type": "http.response.body", "body": body, "more_body": more},
    st.sampled_from([b"", b"a", b"ab", b"abc"]),
    st.booleans(),
)
usual: list[Message] = [
    {"type": "http.response.start", "status": 202, "headers": [(b"vary", b"Origin"), LENGTH]},
    {"type": "http.response.body", "body": b"ok"},
]


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, octets: bytes) -> None:
        self.written.append(octets)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def made(kind: type[RequestResponseCycle], transport: Transport, ended: list[bool], **told: Any) -> Any:
    logger = logging.getLogger("uvicorn.error")
    return kind(
        scope={"method": told["method"]},  # type: ignore[typeddict-item]
        transport=transport,  # type: ignore[arg-type]
        flow=FlowControl(transport),  # type: ignore[arg-type]
        logger=logger,
        access_logger=logger,
        access_log=False,
        default_headers=told["default"],
        message_event=asyncio.Event(),
        expect_100_continue=True,
        keep_alive=told["keep_alive"],
        on_response=lambda: ended.append(True),
    )


async def written(kind: type[RequestResponseCycle], messages: list[Message], shutdown: bool, **told: Any) -> list[Any]:
    """What goes out, and what is known then."""
    transport, ended = Transport(), list[bool]()
    cycle = made(kind, transport, ended, **told)
    cycle.disconnected = told["disconnected"]
    raised = None
    for number, message in enumerate(messages):
        if number == 1 and shutdown:
            cycle.keep_alive = False
        try:
            await cycle.send(dict(message))
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
            break
    octets = b"".join(transport.written)
    if raised is not None or not cycle.response_complete:  # a header section may be there or not: it is closed then
        octets = octets.partition(b"\r\n\r\n")[2]
    known = [cycle.response_started, cycle.response_complete, cycle.message_event.is_set(), len(ended)]
    return [octets, transport.closed, raised, *known, cycle.waiting_for_100_continue, cycle.chunked_encoding]


def in_one(start: Message, body: Message) -> list[Message]:
    """The two messages as a whole response."""
    header = Header(*zip(*start["headers"], strict=True)) if start["headers"] else Header((), ())
    return [{"type": WHOLE, "status": start["status"], "header": header, "body": body["body"]}]


@given(
    st.one_of(
        st.lists(st.one_of(starts, bodies), max_size=4),
        st.builds(lambda start, body: [start, *body], starts, st.lists(bodies, min_size=1, max_size=3)),
    ),
    st.booleans(),
    st.sampled_from(["POST", "HEAD"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([[], [DATE], [(b"server", b"here"), DATE]]),
)
@example(usual, False, "POST", True, False, [DATE])
@example(usual, True, "POST", True, False, [])
@example([{"type": "http.response.start", "status": 200}, usual[1]], False, "POST", True, False, [])
def test_an_answer_is_written_as_uvicorn_does(
    messages: list[Message],
    shutdown: bool,
    method: str,
    keep_alive: bool,
    disconnected: bool,
    default: list[tuple[bytes, bytes]],
) -> None:
    told = {"method": method, "keep_alive": keep_alive, "disconnected": disconnected, "default": default}

    async def both() -> tuple[list[Any], list[Any]]:
        ours = await written(OnePieceCycle, messages, shutdown, **told)
        return ours, await written(RequestResponseCycle, messages, shutdown, **told)

    ours, theirs = asyncio.run(both())
    assert ours == theirs


@given(
    starts,
    st.sampled_from([b"", b"a", b"ab", b"abc"]),
    st.sampled_from(["POST", "HEAD"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([[], [DATE]]),
    st.sampled_from([[], [usual[0]], usual]),
)
@example(usual[0], b"ok", "POST", True, False, [DATE], [])
@example(usual[0], b"wrong", "POST", True, False, [DATE], [])
@example(usual[0], b"ok", "HEAD", True, False, [DATE], [])
@example(usual[0], b"ok", "POST", False, False, [], [])
def test_a_whole_response_is_written_as_its_two_messages_are(
    start: Message,
    body: bytes,
    method: str,
    keep_alive: bool,
    disconnected: bool,
    default: list[tuple[bytes, bytes]],
    before: list[Message],
) -> None:
    told = {"method": method, "keep_alive": keep_alive, "disconnected": disconnected, "default": default}
    end = {"type": "http.response.body", "body": body}

    async def both() -> tuple[list[Any], list[Any]]:
        ours = await written(OnePieceCycle, [*before, *in_one(start, end)], False, **told)
        return ours, await written(RequestResponseCycle, [*before, start, end], False, **told)

    ours, theirs = asyncio.run(both())
    assert ours == theirs


async def test_the_usual_answer_is_written_in_one_piece() -> None:
    transport = Transport()
    cycle = made(OnePieceCycle, transport, [], method="POST", default=[DATE], keep_alive=True)
    for message in usual:
        await cycle.send(message)
    [whole] = transport.written
    assert whole == b"HTTP/1.1 202 Accepted\r\ndate: today\r\nvary: Origin\r\ncontent-length: 2\r\n\r\nok"
    cycle = made(OnePieceCycle, transport, [], method="POST", default=[DATE], keep_alive=True)
    await cycle.send(*in_one(*usual))
    assert transport.written == [whole, whole]
