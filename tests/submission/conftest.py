"""A submitter, and who may send with what."""

import pytest

from app.queue.embedded import EmbeddedEngine
from app.queue.wakeup import Wakeup
from app.settings import Settings
from app.submission.submit import Submitter


@pytest.fixture
def wakeup() -> Wakeup:
    return Wakeup()


@pytest.fixture
def engine(wakeup: Wakeup) -> EmbeddedEngine:
    return EmbeddedEngine(wakeup, 1)


@pytest.fixture
def submitter(sqlite_database: Settings, engine: EmbeddedEngine, wakeup: Wakeup) -> Submitter:
    return Submitter(sqlite_database, engine, wakeup)
