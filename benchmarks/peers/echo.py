"""The floor: Starlette reads JSON and answers it."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.peers.serving import serve


async def echo(request: Request) -> JSONResponse:
    """The body."""
    return JSONResponse(await request.json())


if __name__ == "__main__":
    serve(Starlette(routes=[Route("/echo", echo, methods=["POST"])]))
