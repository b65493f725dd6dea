"""Sealing, and where the keys come from."""

import base64
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.services.secret import Sealer, SealError, sealer_from
from app.settings import Settings, SettingsError

KEY = "canary-key-one-" + "k" * 32
OTHER_KEY = "canary-key-two-" + "k" * 32
ROW = UUID(int=1)
OTHER_ROW = UUID(int=2)
POSTGRES = "postgres://heliograph@127.0.0.1/heliograph"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.uuids())
def test_what_was_sealed_opens(text: str, row_id: UUID) -> None:
    sealer = Sealer([KEY])

    assert sealer.open(sealer.seal(text, row_id), row_id) == text


def test_a_sealed_text_shows_nothing_and_never_repeats() -> None:
    sealer = Sealer([KEY])
    one, two = sealer.seal("canary", ROW), sealer.seal("canary", ROW)

    assert one != two
    assert one.split(".")[:2] == two.split(".")[:2]
    assert len(base64.urlsafe_b64decode(one.split(".")[2])) == 12 + len("canary") + 16


def test_another_row_does_not_open_it() -> None:
    sealed = Sealer([KEY]).seal("canary", ROW)

    with pytest.raises(SealError, match="another row"):
        Sealer([KEY]).open(sealed, OTHER_ROW)


def test_another_key_does_not_open_it() -> None:
    sealed = Sealer([KEY]).seal("canary", ROW)

    with pytest.raises(SealError, match=f"sealed with the key {sealed.split('.')[1]}, which is not configured"):
        Sealer([OTHER_KEY]).open(sealed, ROW)


def test_a_key_under_the_name_of_another_does_not_open_it() -> None:
    ours, theirs = Sealer([KEY]).seal("canary", ROW).split("."), Sealer([OTHER_KEY]).seal("canary", ROW).split(".")

    with pytest.raises(SealError, match="damaged"):
        Sealer([KEY]).open(".".join(["v1", ours[1], theirs[2]]), ROW)


def test_every_changed_bit_is_noticed() -> None:
    sealer = Sealer([KEY])
    version, fingerprint, encoded = sealer.seal("canary", ROW).split(".")
    octets = base64.urlsafe_b64decode(encoded)

    for bit in range(len(octets) * 8):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError, match="damaged"):
            sealer.open(f"{version}.{fingerprint}.{base64.urlsafe_b64encode(changed).decode()}", ROW)


@pytest.mark.parametrize(
    "sealed", ["", "v1", "v1.x", "v2.a.b", "v1.a.b.c", "canary", "v1.{key}.", "v1.{key}.AAAA", "v1.{key}.é"]
)
def test_what_is_no_sealed_text_is_refused(sealed: str) -> None:
    sealer = Sealer([KEY])
    fingerprint = sealer.seal("", ROW).split(".")[1]

    with pytest.raises(SealError):
        sealer.open(sealed.replace("{key}", fingerprint), ROW)


def test_rotation_seals_with_the_first_key_and_opens_with_all() -> None:
    before, after = Sealer([KEY]), Sealer([OTHER_KEY, KEY])
    old, new = before.seal("canary", ROW), after.seal("canary", ROW)

    assert after.open(old, ROW) == "canary"
    assert Sealer([OTHER_KEY]).open(new, ROW) == "canary"
    with pytest.raises(SealError):
        before.open(new, ROW)


def test_a_repeated_key_is_one_key() -> None:
    sealer = Sealer([KEY, OTHER_KEY, KEY])

    assert Sealer([KEY]).open(sealer.seal("canary", ROW), ROW) == "canary"


@pytest.mark.parametrize("texts", [[], ["canary"], [KEY, "k" * 31]])
def test_no_key_or_a_short_one_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 32 characters"):
        Sealer(texts)


def test_the_settings_hold_the_keys() -> None:
    settings = Settings(database_url=POSTGRES, secret_keys=(SecretStr(OTHER_KEY), SecretStr(KEY)))
    sealer = sealer_from(settings)

    assert sealer.open(Sealer([KEY]).seal("canary", ROW), ROW) == "canary"
    assert Sealer([OTHER_KEY]).open(sealer.seal("canary", ROW), ROW) == "canary"


def test_on_sqlite_a_key_file_is_made_beside_the_database(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite://{tmp_path}/mail.db")
    sealed = sealer_from(settings).seal("canary", ROW)

    assert [path.name for path in tmp_path.iterdir()] == ["heliograph.key"]
    assert (tmp_path / "heliograph.key").stat().st_mode & 0o777 == 0o600
    assert sealer_from(settings).open(sealed, ROW) == "canary"


def test_a_named_key_file_is_read_on_postgres_but_never_made(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    settings = Settings(database_url=POSTGRES, secret_key_file=path)
    with pytest.raises(SettingsError, match="is missing"):
        sealer_from(settings)
    assert not path.exists()

    path.write_text(f"{OTHER_KEY}\n\n  {KEY}\n")
    sealed = sealer_from(settings).seal("canary", ROW)

    assert Sealer([OTHER_KEY]).open(sealed, ROW) == "canary"


def test_without_any_key_postgres_says_which_setting_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"^HELIOGRAPH_SECRET_KEYS: "):
        sealer_from(Settings(database_url=POSTGRES))


def test_no_error_shows_a_key_or_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("canary-too-short")
    sealed = Sealer([KEY]).seal("canary", ROW)
    refused: list[Exception] = []
    for settings in (
        Settings(database_url=POSTGRES, secret_keys=(SecretStr("canary-too-short"),)),
        Settings(database_url=POSTGRES, secret_key_file=path),
    ):
        with pytest.raises(SettingsError) as wrong_setting:
            sealer_from(settings)
        refused.append(wrong_setting.value)
    for sealer, row_id in ((Sealer([OTHER_KEY]), ROW), (Sealer([KEY]), OTHER_ROW)):
        with pytest.raises(SealError) as not_opened:
            sealer.open(sealed, row_id)
        refused.append(not_opened.value)

    assert not any("canary" in f"{error!r}{error}{error.__cause__!r}" for error in refused)
    assert "canary" not in f"{Sealer([KEY])!r}{vars(Sealer([KEY]))}"
