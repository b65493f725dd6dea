"""The database decides which engine there is."""

import pytest

from app.queue.choose import choose_engine
from app.queue.embedded import EmbeddedEngine
from app.queue.pgqueuer import PgQueuerEngine
from app.queue.wakeup import Wakeup
from app.settings import Settings


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgresql_has_pgqueuer(scheme: str) -> None:
    settings = Settings(database_url=f"{scheme}://db.example/heliograph")
    assert isinstance(choose_engine(settings, Wakeup()), PgQueuerEngine)


def test_sqlite_has_the_embedded_engine(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(choose_engine(Settings(), Wakeup()), EmbeddedEngine)
    assert caplog.text == ""


def test_without_pgqueuer_postgresql_has_the_embedded_engine_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.queue.choose.pgqueuer_is_installed", lambda: False)
    settings = Settings(database_url="postgres://db.example/heliograph")
    assert isinstance(choose_engine(settings, Wakeup()), EmbeddedEngine)
    assert "PgQueuer is not installed" in caplog.text
