"""DKIM keys as GraphQL shows them, and never their private halves."""

from typing import Any

from app.access.check import GrantValues
from app.domains.key_pair import generate_key, private_text, public_text
from app.domains.models import DkimAlgorithm
from tests.factories import make_key
from tests.graphql.api import Api, codes

KEY = "id domain selector algorithm state subdomains dnsRecord { name value } activatedAt retiredAt"


async def test_a_key_is_imported_shown_retired_and_deleted(api: Api) -> None:
    private = generate_key(DkimAlgorithm.ED25519)
    given = {"domain": "me@Bücher.example", "selector": "S1", "privateKey": private_text(private), "subdomains": True}
    made = (await api.mutate("importDkimKey", f"dkimKey {{ {KEY} }}", **given))["dkimKey"]
    assert made == {
        "id": made["id"],
        "domain": "xn--bcher-kva.example",
        "selector": "s1",
        "algorithm": "ED25519",
        "state": "NEW",
        "subdomains": True,
        "dnsRecord": {
            "name": "s1._domainkey.xn--bcher-kva.example",
            "value": f"v=DKIM1; k=ed25519; p={public_text(private)}",
        },
        "activatedAt": None,
        "retiredAt": None,
    }
    reader = api.as_key(await make_key("reader", [GrantValues(None, ["READ_SERVICES"])]))
    assert await nodes(reader, "bücher.example") == await nodes(reader, None) == [made]
    assert await nodes(reader, "other.example") == []
    node = f"query ($id: ID!) {{ node(id: $id) {{ ... on DkimKey {{ {KEY} }} }} }}"
    assert (await reader.ask(node, id=made["id"]))["node"] == made
    assert codes(await reader.mutate("deleteDkimKey", "deletedDkimKeyId", id=made["id"])) == [("", "FORBIDDEN")]
    active = await api.mutate("activateDkimKey", f"dkimKey {{ {KEY} }}", id=made["id"], force=True)
    assert codes(await api.mutate("deleteDkimKey", "deletedDkimKeyId", id=made["id"])) == [("id", "WRONG_STATE")]
    retired = await api.mutate("retireDkimKey", "dkimKey { state }", id=made["id"])
    assert (active["dkimKey"]["state"], retired["dkimKey"]["state"]) == ("ACTIVE", "RETIRED")
    assert (await api.mutate("deleteDkimKey", "deletedDkimKeyId", id=made["id"]))["deletedDkimKeyId"] == made["id"]
    assert await nodes(api, None) == []


async def test_what_is_wrong_is_told_by_its_field(api: Api) -> None:
    good = {"domain": "x.example", "selector": "s1", "privateKey": "canary"}
    for field, code in (("domain", "INVALID_INPUT"), ("selector", "INVALID_INPUT"), ("privateKey", "INVALID_INPUT")):
        payload = await api.mutate("importDkimKey", "dkimKey { id }", **{**good, field: "canary!"})
        assert codes(payload)[0] == (field, code)
        assert "canary" not in str(payload)


async def nodes(api: Api, domain: str | None) -> list[Any]:
    query = f"query ($domain: String) {{ dkimKeys(first: 9, domain: $domain) {{ nodes {{ {KEY} }} }} }}"
    found: list[Any] = (await api.ask(query, domain=domain))["dkimKeys"]["nodes"]
    return found
