"""Rows that are inserted together, in the way that is quickest on each database."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any
from uuid import UUID

import orjson

Rows = Sequence[Sequence[Any]]

_LARGEST_CHUNK = 16
"""Rows in one statement of SQLite: 30 columns of each are well below the 999 arguments that any build takes."""


class Insert:
    """INSERT of rows of `table`. `columns`: in the order of the values, each with its type on PostgreSQL. `then`: an
    ON CONFLICT clause; on PostgreSQL no two of the rows may be in conflict with each other. `computed`: what columns
    besides those hold in every row, in SQL; of a table that PostgreSQL alone has, also what some hold instead of their
    value. Not where a column is of bytes."""

    def __init__(
        self, table: str, columns: Mapping[str, str], then: str = "", computed: Mapping[str, str] | None = None
    ) -> None:
        computed = computed or {}
        besides = {name: value for name, value in computed.items() if name not in columns}
        self._into, self._then = f"INSERT INTO {table} ({', '.join([*columns, *besides])})", then
        row = f"({', '.join(['?'] * len(columns) + [*besides.values()])})"
        self._of_size = {
            size: f"{self._into} VALUES {', '.join([row] * size)} {then}" for size in range(1, _LARGEST_CHUNK + 1)
        }
        self._table, self._columns, self._computed = table, columns, computed
        self._is_binary = "bytea" in columns.values()
        self.each = self._of_size[1]
        """For one row on SQLite, whose values are the arguments."""

    def in_chunks(self, values: Rows) -> Sequence[tuple[str, list[Any]]]:
        """For any number of rows on SQLite: a few statements, of kinds that it has met before, and their arguments."""
        statement = self._of_size.get(len(values))
        if statement is not None:
            return ((statement, list(chain.from_iterable(values))),)
        chunks = [values[begin : begin + _LARGEST_CHUNK] for begin in range(0, len(values), _LARGEST_CHUNK)]
        return [pair for chunk in chunks for pair in self.in_chunks(chunk)]

    def together(self, first: int, where: str = "") -> str:
        """For any number of rows on PostgreSQL; `first`: the number of the first of the `arguments`. With `where`, a
        clause, they are inserted only if that is so."""
        if self._is_binary:
            arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(self._columns.values(), first))
            return f"{self._into} SELECT * FROM unnest({arrays}){where} {self._then}"  # noqa: S608
        # What is JSON inside the document is text there.
        types = ", ".join(f"{name} {'text' if kind == 'jsonb' else kind}" for name, kind in self._columns.items())
        values = {name: f"{name}::jsonb" if kind == "jsonb" else name for name, kind in self._columns.items()}
        values |= self._computed
        given = f"json_to_recordset(${first}::json) AS given ({types})"
        into = f"INSERT INTO {self._table} ({', '.join(values)})"
        return f"{into} SELECT {', '.join(values.values())} FROM {given}{where} {self._then}"  # noqa: S608

    def arguments(self, values: Rows) -> list[Any]:
        """Of what `together` says. A document, because the driver takes long to look at each element of an array."""
        if self._is_binary:
            return list(zip(*values, strict=True))
        rows = [dict(zip(self._columns, row, strict=True)) for row in values]
        return [orjson.dumps(rows, default=_key_text).decode()]

    @property
    def arguments_count(self) -> int:
        """How many `arguments` there are."""
        return len(self._columns) if self._is_binary else 1


def _key_text(value: object) -> str:
    """Of a key that the driver made, which is of a class of its own."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"no column holds a {type(value).__name__}")


def in_one_statement(parts: Sequence[tuple[Insert, Rows]]) -> tuple[str, list[Any]]:
    """The statement for PostgreSQL that inserts all of them, none of which is empty, and its arguments."""
    return _in_one_statement(tuple(into for into, _ in parts)), _arguments(parts)


def in_one_statement_if(verdict: str, asked: str, parts: Sequence[tuple[Insert, Rows]]) -> tuple[str, list[Any]]:
    """The same, but they are inserted only where `verdict` is not null: an expression, whose argument $1 is `asked`. It
    is worked out first, and once; the statement returns it as `verdict`."""
    return _in_one_statement_if(verdict, tuple(into for into, _ in parts)), [asked, *_arguments(parts)]


def _arguments(parts: Sequence[tuple[Insert, Rows]]) -> list[Any]:
    return [argument for into, values in parts for argument in into.arguments(values)]


@lru_cache(maxsize=100)
def _in_one_statement(parts: tuple[Insert, ...]) -> str:
    *others, last = _statements(parts, 1)
    return f"WITH {_named(others)} {last}" if others else last


@lru_cache(maxsize=100)
def _in_one_statement_if(verdict: str, parts: tuple[Insert, ...]) -> str:
    named = _named(_statements(parts, 2, " WHERE (SELECT verdict IS NOT NULL FROM judged)"))
    return f"WITH judged AS MATERIALIZED (SELECT {verdict} AS verdict), {named} SELECT verdict FROM judged"  # noqa: S608


def _statements(parts: Sequence[Insert], first: int, where: str = "") -> list[str]:
    """One for each; `first`: the number of the first of all their arguments."""
    statements = []
    for part in parts:
        statements.append(part.together(first, where))
        first += part.arguments_count
    return statements


def _named(statements: Sequence[str]) -> str:
    return ", ".join(f"part_{number} AS ({statement})" for number, statement in enumerate(statements))
