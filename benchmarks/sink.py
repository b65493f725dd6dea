"""An SMTP server that takes every mail, counts it, and may delay each reply; it says what came twice or not at all.

    python -m benchmarks.sink --delay 20 --pipelining --chunking

Writes {"port": …} and then answers each line of its standard input: `report FIRST LAST` with what came of the mails of
these numbers, `reset` by forgetting. The number of a mail is the one in its recipient's local part; of several
recipients each has its own.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

_NUMBER = re.compile(rb"<[a-z]*(\d+)")
_LINE = b"\r\n"
_DOT = b"\r\n.\r\n"
_GOODBYE = b"221 bye\r\n"
_DOUBLES_TOLD = 10


@dataclass(slots=True)
class Ledger:
    """What arrived."""

    copies: Counter[int] = field(default_factory=Counter)
    messages: int = 0
    waits: int = 0
    connections: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    def take(self, numbers: list[int]) -> None:
        """A mail to the recipients of these numbers has arrived."""
        self.copies.update(numbers)
        self.messages += 1
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at

    def report(self, first: int, last: int) -> dict[str, object]:
        """What became of the numbers `first` to `last`: how many are missing, came more than once, or are others."""
        missing = [number for number in range(first, last + 1) if number not in self.copies]
        doubled = [number for number, copies in self.copies.items() if copies > 1]
        others = [number for number in self.copies if not first <= number <= last]
        return {
            "messages": self.messages,
            "recipients": self.copies.total(),
            "waits": self.waits,
            "connections": self.connections,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "missing": len(missing),
            "doubled": len(doubled),
            "others": len(others),
            "examples": [*missing[:_DOUBLES_TOLD], *doubled[:_DOUBLES_TOLD], *others[:_DOUBLES_TOLD]],
        }


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server behaves: seconds by which each reply is late, and what it offers."""

    delay: float = 0.0
    pipelining: bool = True
    chunking: bool = False

    def greeting(self) -> bytes:
        """The reply to EHLO."""
        words = [b"sink", b"8BITMIME", b"SMTPUTF8", b"ENHANCEDSTATUSCODES", b"SIZE 104857600"]
        words += [b"PIPELINING"] * self.pipelining + [b"CHUNKING"] * self.chunking
        return b"".join(b"250-" + word + _LINE for word in words[:-1]) + b"250 " + words[-1] + _LINE


class Session(asyncio.Protocol):
    """One connection. A wait is counted when everything the client has sent, from its first MAIL on, is answered."""

    def __init__(self, ledger: Ledger, behaviour: Behaviour) -> None:
        self._ledger = ledger
        self._behaviour = behaviour
        self._greeting = behaviour.greeting()
        self._buffer = bytearray()
        self._numbers: list[int] = []
        self._in_data = False
        self._searched = 0
        self._chunk_left = 0
        self._last_chunk = False
        self._unanswered = 0
        self._in_mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast(asyncio.Transport, transport)
        self._ledger.connections += 1
        self._reply(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer everything that is whole."""
        self._buffer += data
        replies = b"".join(self._replies())
        if replies:
            self._reply(replies)

    def _reply(self, replies: bytes) -> None:
        self._unanswered += 1
        if self._behaviour.delay:
            asyncio.get_running_loop().call_later(self._behaviour.delay, self._write, replies)
        else:
            self._write(replies)

    def _write(self, replies: bytes) -> None:
        self._unanswered -= 1
        if self._transport.is_closing():
            return
        if self._in_mail and not self._unanswered and not self._buffer and replies != _GOODBYE:
            self._ledger.waits += 1
        self._transport.write(replies)
        if replies.endswith(_GOODBYE):
            self._transport.close()

    def _replies(self) -> Iterator[bytes]:
        while True:
            if self._in_data:
                if not self._ends_data():
                    return
                yield b"250 2.0.0 taken\r\n"
            elif self._chunk_left or self._last_chunk:
                if not self._ends_chunk():
                    return
                yield b"250 2.0.0 taken\r\n"
            elif (end := self._buffer.find(_LINE)) >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 2]
                if reply := self._command(line):
                    yield reply
            else:
                return

    def _ends_data(self) -> bool:
        """Take the content up to its final dot, if that is here."""
        if self._buffer.startswith(b".\r\n"):
            end = 3
        elif (found := self._buffer.find(_DOT, self._searched)) >= 0:
            end = found + len(_DOT)
        else:
            self._searched = max(0, len(self._buffer) - len(_DOT) + 1)
            return False
        del self._buffer[:end]
        self._in_data, self._searched = False, 0
        self._taken()
        return True

    def _ends_chunk(self) -> bool:
        here = min(self._chunk_left, len(self._buffer))
        del self._buffer[:here]
        self._chunk_left -= here
        if self._chunk_left:
            return False
        if self._last_chunk:
            self._taken()
        self._last_chunk = False
        return True

    def _taken(self) -> None:
        self._ledger.take(self._numbers)
        self._numbers = []

    def _command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT":
            found = _NUMBER.search(line)
            self._numbers.append(int(found[1]) if found else -1)
            return b"250 2.1.5 fine\r\n"
        if verb == b"MAIL":
            self._in_mail, self._numbers = True, []
            return b"250 2.1.0 fine\r\n"
        if verb == b"DATA":
            self._in_data = True
            return b"354 go on\r\n"
        if verb == b"BDAT":
            return self._bdat(line)
        if verb == b"QUIT":
            return _GOODBYE
        return self._greeting if verb in (b"EHLO", b"HELO") else b"250 2.0.0 fine\r\n"

    def _bdat(self, line: bytes) -> bytes:
        words = line.split()
        self._chunk_left, self._last_chunk = int(words[1]), words[-1].upper() == b"LAST"
        return b"" if self._chunk_left or self._last_chunk else b"250 2.0.0 taken\r\n"


async def serve(ledger: Ledger, behaviour: Behaviour) -> asyncio.Server:
    """Listen on a free port of loopback."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Session(ledger, behaviour), "127.0.0.1", 0, backlog=1024)


async def _run(behaviour: Behaviour) -> None:
    ledger = Ledger()
    server = await serve(ledger, behaviour)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        verb, *numbers = line.decode().split()
        if verb == "reset":
            ledger.__init__()  # type: ignore[misc]
        print(json.dumps(ledger.report(*map(int, numbers)) if verb == "report" else {}), flush=True)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0, help="ms by which each reply is late")
    parser.add_argument("--pipelining", action="store_true")
    parser.add_argument("--chunking", action="store_true")
    options = parser.parse_args()
    import uvloop

    uvloop.run(_run(Behaviour(options.delay / 1000, options.pipelining, options.chunking)))


if __name__ == "__main__":
    main()
