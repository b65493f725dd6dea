"""schemathesis on the whole schema: as admin of a database that is thrown away, and as nobody."""

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from app.asgi import make_app
from app.graphql.schema import make_schema
from app.settings import Settings
from tests.factories import make_first_start
from tests.fuzzing import fuzz

CHECKS = "response_schema_conformance,content_type_conformance"
# Twenty-odd operations, each asked several times: on a busy machine that takes a while.
pytestmark = pytest.mark.timeout(300)

HOOKS = "tests.graphql.fuzz_checks"
# Much of the mail has a service and a recipient that are good, and comes to be accepted or not by all the rest.
SETTINGS = """
[dictionaries.services]
values = ["email"]
[dictionaries.addresses]
values = ["ada@example.com"]
[parameters]
"Mutation.sendEmail.input.service" = {dictionary = "services", probability = 0.9}
"Mutation.sendEmail.input.to[*].email" = {dictionary = "addresses", probability = 0.9}
"""


def operations() -> set[str]:
    """Every query and every mutation, as schemathesis names them."""
    types = make_schema()._schema.type_map
    return {f"{root}.{field}" for root in ("Query", "Mutation") for field in types[root].fields}  # type: ignore[attr-defined]


async def test_as_admin(sqlite_settings: Settings, serve: Callable[[ASGIApp], str], tmp_path: Path) -> None:
    key = await make_first_start(sqlite_settings)
    url = f"{serve(make_app(sqlite_settings))}/graphql"
    options = ("--seed", "1", "--max-examples", "15", "--checks", f"{CHECKS},is_answered")
    found = await fuzz(url, tmp_path, key, *options, settings=SETTINGS, hooks=HOOKS)

    assert found.operations == operations()
    assert set(found.statuses) == {200}


async def test_as_nobody(sqlite_settings: Settings, serve: Callable[[ASGIApp], str], tmp_path: Path) -> None:
    url = f"{serve(make_app(sqlite_settings))}/graphql"
    options = ("--seed", "2", "--max-examples", "3", "--checks", f"{CHECKS},is_unauthenticated")
    found = await fuzz(url, tmp_path, None, *options, settings=SETTINGS, hooks=HOOKS)

    assert found.operations == operations()
