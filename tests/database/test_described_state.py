"""What migrations make is what Tortoise's own state of the models, which takes many times as long, has them make."""

from collections.abc import Awaitable, Callable

import pytest
from tortoise.migrations.schema_generator.state import State
from tortoise.migrations.schema_generator.state_apps import StateApps

from app.database.described_state import DescribedState
from app.database.migrate import migrate
from app.settings import Settings

Catalogue = Callable[[Settings], Awaitable[set[str]]]


async def test_a_new_database_is_the_one_that_tortoises_state_makes(
    empty_databases: tuple[Settings, Settings], catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, tortoises = empty_databases
    applied = await migrate(ours)
    monkeypatch.setattr(DescribedState, "of", lambda models: State(models=models, apps=StateApps()))
    assert await migrate(tortoises) == applied
    made = await catalogue(ours)
    assert made == await catalogue(tortoises)
    assert len(made) > 100
