"""The servers among the floors and peers, running."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.heliograph import SHIM
from benchmarks.load.requests import Post, graphql_post, rest_post
from benchmarks.load.wrk import Load, post_all
from benchmarks.process import SERVER_CORE, Program, cpu_seconds, python, running
from benchmarks.run import Bench, Sample
from benchmarks.stored import check_stored

ECHO = "Starlette JSON echo"


def accept_sample(load: Load) -> Sample:
    """Requests a second, and microseconds of the server's CPU for each."""
    return {"rate": load.rate, "cpu": load.cpu_each}


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Program, str]]:
    """The echo, and its URL."""
    async with running(python("benchmarks.peers.echo"), SERVER_CORE) as program:
        yield program, f"http://127.0.0.1:{(await program.ask())['port']}"


async def echo_sample(bench: Bench) -> Sample:
    """How fast the echo is."""
    async with echoing() as (program, url):
        load = await post_all(url, rest_post("", "/echo"), bench.seconds, lambda: cpu_seconds(program.pid))
    return accept_sample(load)


async def obvious_sample(bench: Bench, module: str, kind: str, slow: int = 0) -> Sample:
    """How fast the obvious build of a door is, on a database of this kind."""
    environment = {"LD_PRELOAD": str(SHIM), "SLOWSYNC_MS": str(slow)} if slow else {}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="obvious-"))
        given = await stack.enter_async_context(bench.database(kind, empty=True))
        url = given or f"sqlite://{Path(folder)}/mail.db"
        opened = f"{url}?journal_mode=WAL&synchronous=FULL" if given is None else url.replace("postgresql:", "asyncpg:")
        async with running(python(f"benchmarks.peers.{module}", opened), SERVER_CORE, environment) as program:
            root = f"http://127.0.0.1:{(await program.ask())['port']}"
            load = await post_all(root, _post(module), bench.seconds, lambda: cpu_seconds(program.pid))
        await check_stored(url, load.sent, "SELECT recipient FROM mail")
    return accept_sample(load)


def _post(module: str) -> Post:
    return rest_post("", "/send") if module == "rest_create" else graphql_post("")
