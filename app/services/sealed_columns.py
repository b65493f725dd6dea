"""Which columns of a service are sealed, and what each is bound to."""

from collections.abc import Mapping
from uuid import UUID, uuid5

SEALED_COLUMNS: Mapping[str, str] = {
    "sealed_password": "password",
    "sealed_client_secret": "client secret",
    "sealed_refresh_token": "refresh token",
    "sealed_private_key": "private key",
}
"""The columns, and what is in them."""

ACCESS_TOKEN = "sealed_token"  # noqa: S105 - the column of another table, access_token


def bound_to(service_id: UUID, column: str) -> UUID:
    """The id that a text in this column is sealed for: that of the row, and of the column where it is not the password,
    so that none opens in the place of another."""
    return service_id if column == "sealed_password" else uuid5(service_id, column)
