"""Migration operations that are safe on SQLite.

Tortoise's own AlterField and RemoveField rebuild the table there, which deletes the rows that refer to it and drops
its indexes, silently.
"""

from collections.abc import Mapping, Sequence

from tortoise.migrations import operations
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.migrations.schema_generator.state import State


class AlterField(operations.AlterField):
    """Change a column's type or length. On SQLite, which minds neither, only the recorded state changes."""

    async def database_forward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        if state_editor is not None and state_editor.DIALECT != "sqlite":
            await super().database_forward(app_label, old_state, new_state, state_editor)

    async def database_backward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        if state_editor is not None and state_editor.DIALECT != "sqlite":
            await super().database_backward(app_label, old_state, new_state, state_editor)


class RemoveField(operations.RemoveField):
    """Drop a column in place. An index on it must be dropped before, by `RunSql`."""

    async def database_forward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        if state_editor is None:
            return
        model = old_state.apps.get_model(f"{app_label}.{self.model_name}")
        field = model._meta.fields_map[self.name]
        column = field.source_field or model._meta.fields_db_projection.get(self.name, self.name)
        await state_editor._run_sql(f'ALTER TABLE "{model._meta.db_table}" DROP COLUMN "{column}"')


class AlterModelOptions(operations.AlterModelOptions):
    """Record what only the models know of: a table's comment (its docstring), its key's name. Touches no database."""


class ForgetModel(operations.DeleteModel):
    """Let the models know no more of a table, which is SQL's alone from then on. Touches no database."""

    database_forward = operations.TortoiseOperation.database_forward
    database_backward = operations.TortoiseOperation.database_backward

    def describe(self) -> str:
        """For the log of a migration."""
        return f"Forget model {self.name}"


class RunSql(operations.Operation):
    """Run single statements, each as it is: nothing splits them at a semicolon.

    `statements` run on both databases, unless the mapping names them per dialect ("sqlite", "postgres").
    `reverse` undoes them; without it the migration cannot be undone.
    """

    def __init__(self, statements: "Statements", reverse: "Statements | None" = None) -> None:
        self.statements = statements
        self.reverse = reverse
        self.reversible = reverse is not None

    def describe(self) -> str:
        """For the log of a migration."""
        return "Run SQL"

    def state_forward(self, app_label: str, state: State) -> None:
        """SQL changes nothing that the models know of."""

    async def database_forward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        await _run(self.statements, state_editor)

    async def database_backward(
        self, app_label: str, old_state: State, new_state: State, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        if self.reverse is not None:
            await _run(self.reverse, state_editor)


Statements = Sequence[str] | Mapping[str, Sequence[str]]


async def _run(statements: Statements, editor: BaseSchemaEditor | None) -> None:
    if editor is None:
        return
    for statement in statements[editor.DIALECT] if isinstance(statements, Mapping) else statements:
        if editor.collect_sql:
            editor.collected_sql.append(statement)
        else:
            await editor.client.execute_query(statement)
