"""What tests want of the machine. Without it they are skipped, or fail if HELIOGRAPH_TEST_REQUIRE_ALL=1."""

import os
import shutil
from typing import NoReturn

import pytest

# Read when tests are collected: no variable HELIOGRAPH_* of the machine reaches a test.
_REQUIRED = os.environ.get("HELIOGRAPH_TEST_REQUIRE_ALL") == "1"


def find_program(name: str, packages: str) -> str:
    """The path of the program, which Debian has in these packages; else the test is skipped, or fails."""
    return shutil.which(name) or without(name, f"apt install {packages}")


def without(what: str, remedy: str) -> NoReturn:
    """Skip the test, or fail it."""
    reason = f"NO {what.upper()}, what needs it is not tested: {remedy}"
    if _REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)
