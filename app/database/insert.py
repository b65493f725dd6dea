"""Rows that are inserted together, in the way that is quickest on each database."""

from collections.abc import Mapping


class Insert:
    """INSERT of rows of `table`. `columns`: in the order of the values, each with its type on PostgreSQL. `then`: an
    ON CONFLICT clause; on PostgreSQL no two of the rows may be in conflict with each other."""

    def __init__(self, table: str, columns: Mapping[str, str], then: str = "") -> None:
        names = ", ".join(columns)
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(columns.values(), start=1))
        self.each = f"INSERT INTO {table} ({names}) VALUES ({places}) {then}"  # noqa: S608 - constants
        """For one row; the values are its arguments."""
        self.together = f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {then}"  # noqa: S608 - constants
        """For any number of rows; the arguments are the columns, each an array."""
