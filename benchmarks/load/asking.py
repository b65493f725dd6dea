"""Ask /health/live without a pause, from another process: the longest answer shows the longest stall.

    python -m benchmarks.load.asking URL

Writes a line when the first answer is there; at a line of its input, the milliseconds of each answer since, as JSON.
"""

import json
import select
import sys
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

PAUSE = 0.001


def main() -> None:
    """The program."""
    connection = HTTPConnection(urlsplit(sys.argv[1]).netloc, timeout=120)
    _ask(connection)
    print(json.dumps({}), flush=True)
    times: list[float] = []
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        times.append(_ask(connection))
    print(json.dumps(times), flush=True)


def _ask(connection: HTTPConnection) -> float:
    began = time.perf_counter()
    connection.request("GET", "/health/live")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
