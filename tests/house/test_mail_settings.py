"""MAIL_*: what the .env file of a Laravel program means, and what is wrong with it, without telling it."""

from pathlib import Path
from typing import Any

import pytest

from app.services.environment import check_default_sender
from app.settings import Settings, SettingsError, read_settings

SECRET = "correct-horse-battery-staple"

READ: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("MAIL_MAILER=smtp", {"mail_mailer": "smtp"}),
    ("MAIL_MAILER=LOG", {"mail_mailer": "log"}),
    ("MAIL_DRIVER=log", {"mail_mailer": "log"}),
    ("MAIL_DRIVER=log\nMAIL_MAILER=smtp", {"mail_mailer": "smtp"}),
    ("MAIL_MAILER=null", {}),
    ("MAIL_HOST=smtp.example.com", {"mail_host": "smtp.example.com"}),
    ("MAIL_HOST=", {}),
    ("MAIL_HOST=null", {}),
    ("MAIL_HOST=(NULL)", {}),
    ("MAIL_HOST", {}),
    ("MAIL_PORT=2525", {"mail_port": 2525}),
    ("MAIL_PORT=", {}),
    ("MAIL_USERNAME=null\nMAIL_PASSWORD=(null)", {}),
    ('MAIL_USERNAME="ada b"', {"mail_username": "ada b"}),
    ("MAIL_ENCRYPTION=tls", {"mail_encryption": "tls"}),
    ("MAIL_ENCRYPTION=TLS", {"mail_encryption": "tls"}),
    ("MAIL_ENCRYPTION=ssl", {"mail_encryption": "ssl"}),
    ("MAIL_ENCRYPTION=none", {"mail_encryption": "none"}),
    ("MAIL_ENCRYPTION=", {"mail_encryption": "none"}),
    ("MAIL_ENCRYPTION=null", {"mail_encryption": "none"}),
    ("MAIL_ENCRYPTION=(null)", {"mail_encryption": "none"}),
    ("MAIL_SCHEME=smtps", {"mail_encryption": "ssl"}),
    ("MAIL_SCHEME=smtp", {"mail_encryption": "tls"}),
    ("MAIL_SCHEME=null", {"mail_encryption": "none"}),
    ("MAIL_SCHEME=null\nMAIL_ENCRYPTION=tls", {"mail_encryption": "tls"}),
    ("MAIL_FROM_ADDRESS=desk@example.com", {"mail_from_address": "desk@example.com"}),
    ('MAIL_FROM_ADDRESS="null"', {}),
    ('MAIL_FROM_NAME="${APP_NAME}"', {}),
    ("APP_NAME=Shop\nMAIL_FROM_NAME=${APP_NAME}", {"mail_from_name": "Shop"}),
    ("APP_KEY=x\nMAIL_URL=smtp://x\nMAIL_LOG_CHANNEL=y\nMAIL_EHLO_DOMAIN=z", {}),
]


def write_env(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    (folder / "my.env").write_text(text)
    monkeypatch.setenv("HELIOGRAPH_ENV_FILE", str(folder / "my.env"))


@pytest.mark.parametrize(("text", "expected"), READ)
def test_what_a_file_means(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, expected: dict[str, Any]
) -> None:
    write_env(monkeypatch, tmp_path, text)
    read = read_settings().model_dump()
    given = {name: value for name, value in read.items() if name.startswith("mail_") and value is not None}
    assert given == expected


def test_a_password_is_kept_secret_and_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_env(monkeypatch, tmp_path, f"MAIL_USERNAME=ada@example.com\nMAIL_PASSWORD=' {SECRET} '")
    settings = read_settings()

    assert settings.mail_password is not None
    assert settings.mail_password.get_secret_value() == f" {SECRET} "
    assert SECRET not in repr(settings)
    assert "ada@example.com" not in repr(settings)


@pytest.mark.parametrize(
    ("in_file", "name", "value", "field", "expected"),
    [
        ("MAIL_HOST=a.example", "MAIL_HOST", "b.example", "mail_host", "b.example"),
        ("MAIL_MAILER=smtp", "MAIL_DRIVER", "log", "mail_mailer", "log"),
        ("MAIL_ENCRYPTION=tls", "MAIL_SCHEME", "smtps", "mail_encryption", "ssl"),
        ("MAIL_ENCRYPTION=tls", "MAIL_ENCRYPTION", "", "mail_encryption", "none"),
        ("MAIL_PORT=25", "MAIL_PORT", "null", "mail_port", None),
        ("MAIL_HOST=a.example", "mail_host", "b.example", "mail_host", "b.example"),
        ("", "MAIL_FROM_NAME", "${APP_NAME}", "mail_from_name", "${APP_NAME}"),
    ],
)
def test_the_environment_wins_over_the_file_by_either_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_file: str, name: str, value: str, field: str, expected: Any
) -> None:
    write_env(monkeypatch, tmp_path, in_file)
    monkeypatch.setenv(name, value)
    assert getattr(read_settings(), field) == expected


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAIL_MAILER", "sendmail", "MAIL_MAILER or MAIL_DRIVER: "),
        ("MAIL_DRIVER", "ses", "MAIL_MAILER or MAIL_DRIVER: "),
        ("MAIL_PORT", "smtp", "MAIL_PORT: "),
        ("MAIL_ENCRYPTION", "starttlz", "MAIL_ENCRYPTION or MAIL_SCHEME: "),
        ("MAIL_SCHEME", "https", "MAIL_ENCRYPTION or MAIL_SCHEME: "),
    ],
)
def test_a_wrong_value_is_named_by_its_variable_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", SECRET)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert str(refused.value).startswith(told)
    assert value not in str(refused.value).removeprefix(told).split()
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_FROM_ADDRESS", "desk-canary"),
        ("MAIL_FROM_ADDRESS", "Desk <desk-canary@example.com>"),
        ("MAIL_FROM_ADDRESS", "a@example.com, desk-canary@example.com"),
        ("MAIL_FROM_NAME", "canary\r\nBcc: x@example.com"),
        ("MAIL_FROM_NAME", "canary" * 50),
    ],
)
def test_a_sender_that_cannot_be_is_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: ") as refused:
        check_default_sender(read_settings())
    assert "canary" not in str(refused.value)


def test_a_name_without_an_address_will_do() -> None:
    check_default_sender(Settings(mail_from_name="Desk"))
    check_default_sender(Settings())
