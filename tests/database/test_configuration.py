"""Database URLs."""

import importlib.util

import pytest

from app.database.configuration import APP_LABEL, DatabaseUrlError, sqlite_path, tortoise_config


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://heliograph.db", "heliograph.db"),
        ("sqlite://data/heliograph.db", "data/heliograph.db"),
        ("sqlite:///var/lib/heliograph.db", "/var/lib/heliograph.db"),
        ("sqlite:///var/a%20b.db", "/var/a b.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    assert sqlite_path(url) == path
    (connection,) = tortoise_config(url)["connections"].values()
    assert connection["credentials"]["file_path"] == path


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_postgres_url_goes_to_the_driver_as_it_is(scheme: str) -> None:
    url = f"{scheme}://user:p%40ss@db.example.org/mail?sslmode=verify-full"
    (connection,) = tortoise_config(url, pool_size=3)["connections"].values()
    assert (connection["credentials"]["dsn"], connection["credentials"]["maxsize"]) == (url, 3)


@pytest.mark.parametrize(
    "url",
    ["mysql://user:hunter2@host/db", "heliograph.db", "", "sqlite://", "sqlite://:memory:", "sqlite://a.db?x=hunter2"],
)
def test_any_other_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        tortoise_config(url)
    assert "hunter2" not in str(caught.value)


def test_postgres_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "app.database.configuration.find_spec", lambda name: None if name == "asyncpg" else find_spec(name)
    )
    with pytest.raises(DatabaseUrlError, match=r"pip install '\.\[postgres\]'"):
        tortoise_config("postgres://localhost/mail")


def test_migrations_are_found_in_a_checkout_and_in_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def migrations() -> str:
        return str(tortoise_config("sqlite://a.db")["apps"][APP_LABEL]["migrations"])

    monkeypatch.setattr("app.database.configuration.find_spec", lambda _: None)
    assert migrations() == "migrations"
    monkeypatch.setattr("app.database.configuration.find_spec", lambda _: importlib.util.find_spec("sys"))
    assert migrations() == "app.migrations"
