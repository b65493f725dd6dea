"""Every setting is on the operators' page with its default, is read from its variable, and keeps its secret."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from app.settings import Settings, SettingsError, read_settings

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\| `((?:HELIOGRAPH|MAIL)_\w+)`(?:, `(MAIL_\w+)`)? \| (?:`(.*?)`)? *\| (.+) \|$", re.MULTILINE)
ENV_FILE = "HELIOGRAPH_ENV_FILE"
SECRET = "correct-horse-battery-staple-0123456789"


def written(default: Any) -> str:
    """A default as one writes it into the environment."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(part if isinstance(part, str) else f"{part:g}" for part in default)
    return str(default)


def variables(name: str, field: FieldInfo) -> tuple[str, str]:
    """The variable of a setting, and its other name or nothing."""
    if isinstance(field.validation_alias, AliasChoices):
        first, *others = field.validation_alias.choices
        return str(first), "".join(map(str, others))
    return f"HELIOGRAPH_{name.upper()}", ""


def test_the_page_lists_every_setting_with_its_default() -> None:
    rows = {(name, other): default for name, other, default, _ in ROW.findall(PAGE.read_text())}
    assert rows.pop((ENV_FILE, "")) == ".env", "it says where settings are, and is none itself"
    assert rows == {variables(name, field): written(field.default) for name, field in Settings.model_fields.items()}


def test_what_the_page_says_is_a_default_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _, default, _ in ROW.findall(PAGE.read_text()):
        if default and name != ENV_FILE:
            monkeypatch.setenv(name, default)
    assert read_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("LEASE", "0"),
        ("MAX_TAGS", "-1"),
        ("RETRY_JITTER", "1"),
        ("RETRY_SCHEDULE", "30,soon"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_NAME_CHARS", "257"),
        ("SMTP_PORTS", "25,0"),
        ("SMTP_PORTS", "smtp"),
        ("SMTP_NETWORKS", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("FORWARDED_HEADER", "x-real-ip"),
        ("LOG_ADDRESSES", "some"),
        ("API_KEY_MAX_OVERLAP", "inf"),
        ("SECRET_KEYS", SECRET),
    ],
)
def test_a_wrong_value_is_named_by_its_variable_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("HELIOGRAPH_ADMIN_API_KEY", SECRET)
    monkeypatch.setenv(f"HELIOGRAPH_{name}", text)
    if name == "SECRET_KEYS":
        assert SECRET not in repr(read_settings())
        return
    with pytest.raises(SettingsError, match=f"HELIOGRAPH_{name}: ") as refused:
        read_settings()
    assert SECRET not in str(refused.value)
    assert f"'{text}'" not in str(refused.value)


def test_the_environment_wins_over_the_file_and_overrides_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "my.env").write_text("HELIOGRAPH_PORT=1\nHELIOGRAPH_HOST=0.0.0.0\nHELIOGRAPH_LEASE=61\n")
    monkeypatch.setenv("HELIOGRAPH_ENV_FILE", str(tmp_path / "my.env"))
    monkeypatch.setenv("HELIOGRAPH_PORT", "2")
    monkeypatch.setenv("HELIOGRAPH_HOST", "::1")
    settings = read_settings(host="127.0.0.2")

    assert (settings.host, settings.port, settings.lease) == ("127.0.0.2", 2, 61)
