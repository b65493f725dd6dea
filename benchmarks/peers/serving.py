"""How each server among the floors and peers serves: by uvicorn, on a free port that it tells."""

import json
import socket

import uvicorn
from starlette.applications import Starlette


def serve(app: Starlette) -> None:
    """Until a signal says stop."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run([listening])
