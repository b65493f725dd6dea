"""The public audit suite for servers of GraphQL over HTTP, run against the real one."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.program import ADMIN_KEY, Heliograph
from tests.programs import find_program, without

AUDIT = Path(__file__).parent / "clients" / "audit.mjs"
PACKAGES = ("graphql-http@1.23.1", "graphql@16.15.0")
AUDITS = 61


@pytest.fixture
async def audit_suite(tmp_path: Path) -> Path:
    """A folder that has the audit suite, and the script that runs it."""
    npm = find_program("npm", "npm")
    folder = tmp_path / "audit"
    folder.mkdir()
    shutil.copy(AUDIT, folder)
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    status, output = await run(npm, "install", "--prefix", str(folder), *quiet, *PACKAGES, cwd=folder)
    if status:
        without("graphql-http", f"npm cannot install it: {output}")
    return folder


async def run(*command: str, cwd: Path) -> tuple[int, str]:
    """The exit status, and what was said."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_every_audit_of_graphql_over_http_is_passed(audit_suite: Path, heliograph: Heliograph) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        node = find_program("node", "nodejs")
        status, output = await run(node, AUDIT.name, f"{server.url}/graphql", cwd=audit_suite)
    assert status == 0, output
    audits: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len({audit["id"] for audit in audits}) == AUDITS
