"""The obvious build of the REST route: Starlette reads JSON, Tortoise creates a row, the answer has its id.

python -m benchmarks.peers.rest_create sqlite://mail.db
"""

import sys

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.peers.serving import serve
from benchmarks.peers.stored import store, storing


async def send(request: Request) -> JSONResponse:
    """202 with the id."""
    mail = await request.json()
    made = await store(mail["to"][0]["email"], mail["subject"], mail)
    return JSONResponse({"id": str(made)}, 202)


if __name__ == "__main__":
    routes = [Route("/send", send, methods=["POST"])]
    serve(Starlette(routes=routes, lifespan=storing(sys.argv[1])))
