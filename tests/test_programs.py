"""A run that must find everything would not, if a test that finds nothing could still be skipped in it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("required", "status", "outcome"), [("", 0, "1 skipped"), ("1", 1, "1 error")])
async def test_without_chromium_a_page_s_test_is_skipped_or_fails(required: str, status: int, outcome: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-k", "another_host_is_blocked"),
        str(ROOT / "tests" / "test_browser.py"),
        cwd=ROOT,
        env=os.environ | {"CHROMIUM": "/nowhere/chromium", "HELIOGRAPH_TEST_REQUIRE_ALL": required},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert (process.returncode, outcome in output.decode()) == (status, True), output.decode()
    assert "NO CHROMIUM" in output.decode()
