"""DKIM keys: made, activated once they are published, rotated, removed."""

from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.database.connection import rows
from app.domains.domain import key_selector, sender_domain, with_parents
from app.domains.key_pair import dkim_record, private_text, read_key
from app.domains.manage import (
    activate_dkim_key,
    delete_dkim_key,
    generate_dkim_key,
    get_dkim_key,
    import_dkim_key,
    list_dkim_keys,
    retire_dkim_key,
)
from app.domains.models import DkimAlgorithm, DkimKey, DkimKeyState
from app.errors import Conflict, ErrorCode, Forbidden, InvalidInput, NotFound
from app.outbound.dns import DnsStatus
from app.services.sealed import Rotation, checked_sealer, forget_secret, reseal_secrets
from app.services.secret import Sealer
from app.settings import Settings, SettingsError
from tests.domains.dns_answers import Zone, answering
from tests.factories import make_principal

SEALER = Sealer(["k" * 32])
NAME = "s1._domainkey.example.com"


async def make(selector: str = "s1", domain: str = "example.com", **more: Any) -> DkimKey:
    return await generate_dkim_key(domain, selector, DkimAlgorithm.ED25519, None, SEALER, **more)


def published(key: DkimKey) -> Zone:
    record = dkim_record(key.domain, key.selector, key.algorithm, key.public_key)
    return {(record.name, record.type): [record.value]}


async def states() -> dict[str, str]:
    return {key.selector: key.state for key in await list_dkim_keys(None, None, 100)}


async def test_a_key_is_made_sealed_and_signs_nothing(database: Settings) -> None:
    key = await make("S1", "me@Bücher.example")
    assert (key.domain, key.selector, key.state) == ("xn--bcher-kva.example", "s1", DkimKeyState.NEW)
    assert read_key(SEALER.open(key.sealed_private_key, key.id))
    private = Ed25519PrivateKey.generate()
    given = await import_dkim_key("example.com", "s2", private_text(private), None, SEALER)
    assert SEALER.open(given.sealed_private_key, given.id) == private_text(private)
    assert (await get_dkim_key(given.id)).algorithm == DkimAlgorithm.ED25519


async def test_only_a_key_that_is_published_is_activated(database: Settings) -> None:
    key = await make()
    other = dkim_record("example.com", "s1", "ED25519", "AAAA").value
    refused: dict[str, Zone] = {
        "There is no TXT record": {},
        "has another public key": {(NAME, "TXT"): [other]},
        "There are 2 TXT records": {(NAME, "TXT"): [other, other]},
        "is no DKIM key": {(NAME, "TXT"): ["v=spf1 -all"]},
        "is revoked": {(NAME, "TXT"): ["v=DKIM1; p="]},
        "is not for mail": {(NAME, "TXT"): [f"{published(key)[NAME, 'TXT'][0]}; s=tlsrpt"]},
        "did not answer in time": {(NAME, "TXT"): DnsStatus.TIMED_OUT},
        "could not tell": {(NAME, "TXT"): DnsStatus.FAILED},
    }
    for sentence, zone in refused.items():
        with pytest.raises(Conflict, match=sentence) as error:
            await activate_dkim_key(key.id, None, answering(zone))
        assert error.value.problems[0].code is ErrorCode.WRONG_STATE
    assert await states() == {"s1": "NEW"}
    await activate_dkim_key(key.id, None, answering(published(key)))
    await activate_dkim_key((await make("s2")).id, None, answering({}), force=True)
    assert await states() == {"s1": "RETIRED", "s2": "ACTIVE"}


async def test_a_rotation_retires_the_key_of_the_same_algorithm_alone(database: Settings) -> None:
    rsa = await generate_dkim_key("example.com", "r1", DkimAlgorithm.RSA, None, SEALER)
    keys = [rsa, await make("e1"), await make("e2"), await make("x", "example.org")]
    for key in (*keys, keys[1]):
        await activate_dkim_key(key.id, None, answering({}), force=True)
    assert await states() == {"r1": "ACTIVE", "e1": "ACTIVE", "e2": "RETIRED", "x": "ACTIVE"}
    assert (await get_dkim_key(keys[1].id)).retired_at is None
    assert [key.selector for key in await list_dkim_keys("example.com", rsa.id, 1)] == ["e1"]


async def test_an_active_key_is_retired_before_it_is_deleted(database: Settings) -> None:
    key = await make()
    with pytest.raises(Conflict, match="not active"):
        await retire_dkim_key(key.id, None)
    await activate_dkim_key(key.id, None, answering({}), force=True)
    with pytest.raises(Conflict, match="retire it first"):
        await delete_dkim_key(key.id, None)
    await retire_dkim_key(key.id, None)
    await delete_dkim_key(key.id, None)
    for absent in (delete_dkim_key, retire_dkim_key):
        with pytest.raises(NotFound):
            await absent(key.id, None)
    with pytest.raises(NotFound):
        await activate_dkim_key(key.id, None, answering({}), force=True)


async def test_a_selector_is_taken_once_in_a_domain(database: Settings) -> None:
    await make()
    await make(domain="example.org")
    with pytest.raises(Conflict) as error:
        await make("S1", "EXAMPLE.com")
    assert error.value.problems[0].code is ErrorCode.NAME_TAKEN


async def test_every_change_needs_the_right_to_manage_all_services(database: Settings) -> None:
    nobody, key = await make_principal("nobody", []), await make()
    changes = (
        generate_dkim_key("example.com", "s2", DkimAlgorithm.RSA, nobody, SEALER),
        import_dkim_key("example.com", "s2", "", nobody, SEALER),
        activate_dkim_key(key.id, nobody, answering({}), force=True),
        retire_dkim_key(key.id, nobody),
        delete_dkim_key(key.id, nobody),
    )
    for change in changes:
        with pytest.raises(Forbidden):
            await change


async def test_keys_are_resealed_and_forgotten_like_passwords(database: Settings) -> None:
    new, both = Sealer(["n" * 32]), Sealer(["n" * 32, "k" * 32])
    one, two = await make("s1"), await make("s2")
    settings = database.model_copy(update={"secret_keys": ()})
    with pytest.raises(SettingsError, match=f"the DKIM keys of {NAME}, s2._domainkey.example.com were sealed"):
        await checked_sealer(settings)
    assert await reseal_secrets(both) == Rotation(2, 0, ())
    assert read_key(new.open((await get_dkim_key(one.id)).sealed_private_key, one.id))
    told = await forget_secret("s2._domainkey.example.com", SEALER)
    assert told.startswith("s2._domainkey.example.com is deleted")
    assert await states() == {"s1": "NEW"}
    entries = await rows("SELECT action, before FROM audit_entry WHERE subject_id = $1 ORDER BY id", two.id)
    assert [entry["action"] for entry in entries] == ["GENERATE_DKIM_KEY", "RESEAL_DKIM_KEY", "FORGET_CREDENTIALS"]
    assert "privateKey" in str(entries[-1]["before"])


@pytest.mark.parametrize("text", ["", "a b", "a@", "@", "me@[192.0.2.1]", "[192.0.2.1]", "-.com", "a..b", "x" * 300])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        sender_domain(text)
    assert error.value.problems[0].field == ("domain",)


def test_selectors_are_parts_of_a_name() -> None:
    assert [key_selector(text, "x.example") for text in ("S1", "2026-11", "a.b")] == ["s1", "2026-11", "a.b"]
    taken = []
    for text in ("", "a_b", "-a", "a-", "a..b", ".a", "é", "a" * 64, "a;p=", "a b"):
        with suppress(InvalidInput):
            taken.append(key_selector(text, "x.example"))
    assert taken == []
    with pytest.raises(InvalidInput, match="over 253"):
        key_selector("s" * 63, f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example")


def test_the_domains_above_one_do_not_include_its_end() -> None:
    assert with_parents("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com"]
    assert with_parents("localhost") == ["localhost"]
