"""Many WebSockets that speak graphql-transport-ws and stay open.

    python -m benchmarks.load.sockets URL COUNT KEY

Writes {"opened": seconds} once all are acknowledged; at a line of its input it asks one query on each, and writes
{"asked": seconds} when all have their answer.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("graphql-transport-ws")
AT_ONCE = 50
QUERY = "{ viewer { roleName } }"


async def _open(url: str, key: str, places: asyncio.Semaphore) -> ClientConnection:
    async with places:
        headers = {"X-API-Key": key}
        socket = await connect(
            url, subprotocols=[PROTOCOL], additional_headers=headers, compression=None, ping_interval=None, proxy=None
        )
        await socket.send('{"type": "connection_init"}')
        await _receive(socket, "connection_ack")
        return socket


async def _ask(socket: ClientConnection) -> None:
    await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}}))
    await _receive(socket, "next")
    await _receive(socket, "complete")


async def _receive(socket: ClientConnection, kind: str) -> None:
    while (message := json.loads(await socket.recv()))["type"] == "ping":
        await socket.send('{"type": "pong"}')
    if message["type"] != kind or message.get("payload", {}).get("errors"):
        raise RuntimeError(f"not {kind}, but {message}")


async def _run(url: str, count: int, key: str) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    address = urlsplit(url)._replace(scheme="ws", path="/graphql").geturl()
    began = time.perf_counter()
    sockets = await asyncio.gather(*(_open(address, key, places) for _ in range(count)))
    print(json.dumps({"opened": time.perf_counter() - began}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        began = time.perf_counter()
        await asyncio.gather(*map(_ask, sockets))
        print(json.dumps({"asked": time.perf_counter() - began}), flush=True)


def main() -> None:
    """The program."""
    url, count, key = sys.argv[1:]
    import uvloop

    uvloop.run(_run(url, int(count), key))


if __name__ == "__main__":
    main()
