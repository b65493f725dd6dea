"""schemathesis on /openapi.json: what the document says is what the route answers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from app.asgi import make_app
from app.settings import Settings
from tests.factories import make_first_start
from tests.fuzzing import Fuzzed, fuzz

# Hundreds of requests: on a busy machine that takes a while.
pytestmark = pytest.mark.timeout(300)

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,missing_required_header,unsupported_method,allow_header_conformance"
)
# Mail goes to the service that is there, not to names at random.
SETTINGS = '[parameters]\n"path.service" = "email"\n'
OPERATIONS = {"POST /api/v2/{service}"}


async def run(
    settings: Settings, serve: Callable[[ASGIApp], str], folder: Path, *options: str, authenticated: bool = True
) -> Fuzzed:
    key = await make_first_start(settings)
    url = f"{serve(make_app(settings))}/openapi.json"
    return await fuzz(url, folder, key if authenticated else None, "--checks", CHECKS, *options, settings=SETTINGS)


async def test_mails_at_random(sqlite_settings: Settings, serve: Callable[[ASGIApp], str], tmp_path: Path) -> None:
    options = ("--seed", "1", "--phases", "examples,fuzzing", "--max-examples", "300")
    found = await run(sqlite_settings, serve, tmp_path, *options)

    assert found.operations == OPERATIONS
    assert found.statuses[400] > 0
    assert found.statuses[200] + found.statuses[202] > 0


async def test_every_rule_of_the_document_kept_and_broken(
    sqlite_settings: Settings, serve: Callable[[ASGIApp], str], tmp_path: Path
) -> None:
    found = await run(sqlite_settings, serve, tmp_path, "--seed", "2", "--phases", "coverage")
    assert {200, 202, 400, 405} <= set(found.statuses)


async def test_without_an_api_key(sqlite_settings: Settings, serve: Callable[[ASGIApp], str], tmp_path: Path) -> None:
    options = ("--seed", "3", "--phases", "examples,fuzzing", "--max-examples", "20")
    without_keys = ("--generation-with-security-parameters", "false")
    found = await run(sqlite_settings, serve, tmp_path, *options, *without_keys, authenticated=False)
    assert set(found.statuses) == {401}
