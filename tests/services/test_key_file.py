"""The key file: whole or not there, for its owner only, made by one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.services.key_file import make_key_file, read_key_file
from app.services.secret import MIN_KEY_CHARS, Sealer
from app.settings import SettingsError


def test_a_new_key_file_holds_one_strong_key_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "heliograph.key"
    before = os.umask(0)
    try:
        make_key_file(path)
    finally:
        os.umask(before)
    keys = read_key_file(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(keys) == 1
    assert len(keys[0]) == 64 > MIN_KEY_CHARS
    assert Sealer(keys)
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_key_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "heliograph.key"
    path.write_text("kept\n")
    make_key_file(path)

    assert path.read_text() == "kept\n"


def test_processes_that_start_together_use_one_key(tmp_path: Path) -> None:
    path = tmp_path / "heliograph.key"
    script = (
        "import sys; from pathlib import Path; from app.services.key_file import make_key_file, read_key_file;"
        "path = Path(sys.argv[1]); print('ready', flush=True); sys.stdin.readline();"
        "make_key_file(path); print(read_key_file(path))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    seen = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert seen == [str(read_key_file(path))] * 4
    assert list(tmp_path.iterdir()) == [path]


def test_the_slower_of_two_processes_keeps_the_key_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "heliograph.key"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", lambda _: False)
        make_key_file(path)
        first = read_key_file(path)
        make_key_file(path)

    assert read_key_file(path) == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "heliograph.key"

    with pytest.raises(SettingsError, match=r"heliograph\.key: the key file cannot be made: No such file or directory"):
        make_key_file(path)
    with pytest.raises(SettingsError, match=r"heliograph\.key: the key file is missing"):
        read_key_file(path)


def test_a_file_that_is_no_text_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "heliograph.key"
    path.write_bytes(b"\xffcanary")

    with pytest.raises(SettingsError, match="cannot be read as ASCII text") as refused:
        read_key_file(path)
    assert "canary" not in f"{refused.value!r}{refused.value.__cause__!r}"
