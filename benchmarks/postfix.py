"""A Postfix of our own as a relay: its own configuration and queue, on a free port of loopback, no other service."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam

from benchmarks.process import LOAD_CORE, SERVER_CORE, pinned, tree_cpu_seconds
from benchmarks.run import Wrong

PROGRAMS = "/usr/lib/postfix/sbin"
SESSIONS = 20
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {programs}
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example
mydestination =
relay_domains = load.example
relayhost = [127.0.0.1]:{sink}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
disable_dns_lookups = yes
smtp_destination_concurrency_limit = {connections}
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
smtp_connection_cache_on_demand = yes
smtp_tls_security_level = none
smtpd_tls_security_level = none
alias_maps =
alias_database =
local_recipient_maps =
maillog_file =
"""
MASTER = """
127.0.0.1:{port} inet n - n - 60 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - {connections} smtp
relay unix - - n - {connections} smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
"""


@dataclass(frozen=True, slots=True)
class Relay:
    """A running Postfix."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Seconds of CPU that all its processes have taken so far."""
        return tree_cpu_seconds(self.pid)


@asynccontextmanager
async def relaying(sink_port: int, connections: int) -> AsyncIterator[Relay]:
    """Postfix, which relays to the sink, on the server's core; it runs as its own user once it listens."""
    if os.getuid() != 0:
        raise Wrong("Postfix is started by root only, and becomes another user by itself")
    with tempfile.TemporaryDirectory(prefix="postfix-bench-") as name:
        folder, port = Path(name), _free_port()
        _configure(folder, port, sink_port, connections)
        with pinned(SERVER_CORE):
            master = await asyncio.create_subprocess_exec(
                f"{PROGRAMS}/master", "-c", str(folder / "etc"), "-d", stdin=subprocess.DEVNULL
            )
        try:
            await _listens(master, port)
            yield Relay(port, master.pid)
        finally:
            if master.returncode is None:
                master.terminate()
            await master.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _configure(folder: Path, port: int, sink_port: int, connections: int) -> None:
    folder.chmod(0o755)
    for part in ("etc", "queue", "data"):
        (folder / part).mkdir()
    owner = getpwnam("postfix")
    os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
    given = {"folder": folder, "programs": PROGRAMS, "sink": sink_port, "connections": connections, "port": port}
    (folder / "etc" / "main.cf").write_text(MAIN.format(**given))
    (folder / "etc" / "master.cf").write_text(MASTER.format(**given))
    for file in ("postfix-files", "dynamicmaps.cf"):
        if (kept := Path("/etc/postfix") / file).exists():
            shutil.copy(kept, folder / "etc")
    command = ["postfix", "-c", str(folder / "etc"), "check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    if checked.returncode:
        raise Wrong(f"Postfix does not take its configuration: {checked.stderr}")


async def _listens(master: asyncio.subprocess.Process, port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and master.returncode is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return
    raise Wrong("Postfix does not listen")


async def feed(port: int, mails: int, size: int) -> float:
    """Send so many mails by smtp-source, on the load's core, each to its own recipient; the seconds until all are
    acknowledged."""
    began = time.monotonic()
    with pinned(LOAD_CORE):
        source = await asyncio.create_subprocess_exec(
            *("smtp-source", "-d", "-N", "-s", str(SESSIONS), "-m", str(mails), "-l", str(size)),
            *("-f", "shop@sender.example", "-t", "@load.example", f"127.0.0.1:{port}"),
        )
    if await source.wait():
        raise Wrong("smtp-source could not send")
    return time.monotonic() - began
