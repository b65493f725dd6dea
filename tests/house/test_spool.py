"""Octets in memory or in a file: the same octets, and no file is left open."""

import gc
import os
import time
from pathlib import Path

import pytest

from app.mail.octets import pieces_of
from app.spool import Spool, SpooledOctets


def descriptors(folder: Path) -> int:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(str(folder) in os.readlink(link) for link in links if os.path.islink(link))


@pytest.mark.parametrize(("over", "in_file"), [(9, False), (8, True), (2, True), (0, True)])
def test_what_is_written_is_read_wherever_it_is_kept(over: int, in_file: bool, tmp_path: Path) -> None:
    spool = Spool(over, tmp_path)
    for part in (b"one", b"two", b"six"):
        spool.write(part)
    octets = spool.finish()
    assert (isinstance(octets, SpooledOctets), len(octets)) == (in_file, 9)
    for _ in range(2):
        assert b"".join(pieces_of(octets)) == b"onetwosix"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells which files are open")
@pytest.mark.parametrize("is_finished", [True, False])
def test_a_file_is_closed_with_who_uses_it(is_finished: bool, tmp_path: Path) -> None:
    spool: Spool | None = Spool(0, tmp_path)
    assert spool is not None
    spool.write(b"octets")
    octets = spool.finish() if is_finished else None
    spool = None
    gc.collect()
    if octets is not None:
        assert descriptors(tmp_path) == 1
        assert b"".join(pieces_of(octets)) == b"octets"
        octets = None
    until = time.monotonic() + 20
    while descriptors(tmp_path) and time.monotonic() < until:
        time.sleep(0.001)
    assert descriptors(tmp_path) == 0
