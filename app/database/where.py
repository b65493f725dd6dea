"""A WHERE clause put together from conditions that may or may not be asked for."""

from collections.abc import Collection


class Where:
    """Conditions joined by AND. Values never become part of the SQL text: each `?` becomes the next $n."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.arguments: list[object] = []

    def add(self, condition: str, *values: object) -> None:
        """Require `condition`, which holds one `?` per value."""
        self._conditions.append("".join(self._numbered(condition, values)))

    def add_among(self, column: str, values: Collection[object], *, negate: bool = False) -> None:
        """Require that `column` is one of `values`; negated: that it is none of them, null included."""
        if not values:
            if not negate:
                self._conditions.append("1 = 0")
            return
        places = f"({', '.join('?' * len(values))})"
        if negate:
            self.add(f"({column} IS NULL OR {column} NOT IN {places})", *values)
        else:
            self.add(f"{column} IN {places}", *values)

    def place(self, value: object) -> str:
        """Add an argument outside the clause, for example for LIMIT; returns its $n."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    @property
    def clause(self) -> str:
        """` WHERE ...`, or nothing."""
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""

    def _numbered(self, condition: str, values: tuple[object, ...]) -> list[str]:
        first, *rest = condition.split("?")
        if len(rest) != len(values):
            raise ValueError(f"{len(values)} values for {condition!r}")
        return [first, *(self.place(value) + part for value, part in zip(values, rest, strict=True))]
