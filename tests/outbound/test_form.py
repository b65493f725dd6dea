"""Where a form does not go."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from app.outbound.form import Unanswered, post_form
from app.outbound.guard import Address
from app.settings import Settings

SECRET = {"client_secret": "canary"}


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1", "::ffff:10.0.0.1", "fd00::1"])
async def test_a_name_of_an_address_that_is_not_public_gets_nothing(address: str) -> None:
    async def resolve(host: str) -> Sequence[Address]:
        return [ip_address(address)]

    settings = Settings(database_url="postgres://x/y", smtp_private_networks=True)
    with pytest.raises(Unanswered, match="does not connect to") as refused:
        await post_form("https://t.example/", SECRET, settings, seconds=5, most_bytes=9, resolve=resolve)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("host", ["a..example", "a" * 64])
async def test_a_host_that_cannot_be_a_name_is_not_found(host: str) -> None:
    with pytest.raises(Unanswered, match="was not found"):
        await post_form(f"https://{host}/", SECRET, Settings(database_url="sqlite://x"), seconds=5, most_bytes=9)
