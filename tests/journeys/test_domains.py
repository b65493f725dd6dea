"""A sender domain: a key made, published, activated, rotated, and its mail verified from what the DNS holds."""

from typing import Any

import dkim
import dns.rcode

from app.inbox.receiver import Receiver
from tests.domains.dns_server import DnsZone, dns_server
from tests.journeys.conftest import Running
from tests.journeys.doors import Doors

FIELDS = "dkimKey { id state dnsRecord { name type value strings } } userErrors { code field message }"
CHECK = """
  query ($domain: String!) { checkDomain(service: "relay", domain: $domain) {
    spf { status dns } mx { status dns } dmarc { policy spfAligned dkimAligned finding { status } }
    dkim { selector state finding { status record { name } } }
  } }
"""
OTHERS: DnsZone = {
    ("example.com", "TXT"): ['"v=spf1 ip4:192.0.2.1 -all"', '"v=spf1 +all"'],
    ("example.com", "MX"): ["10 mx.example.com."],
    ("_dmarc.example.com", "TXT"): ['"v=DMARC1; p=quarantine"'],
    ("trouble.example", "TXT"): dns.rcode.SERVFAIL,
    ("trouble.example", "MX"): None,
}


async def change(doors: Doors, mutation: str, **given: Any) -> Any:
    kind = f"{mutation[0].upper()}{mutation[1:]}Input"
    query = f"mutation ($input: {kind}!) {{ done: {mutation}(input: $input) {{ {FIELDS} }} }}"
    return (await doors.graphql.ask(query, input=given))["done"]


async def test_mail_is_signed_with_the_key_that_is_published(sqlite_running: Running, receiver: Receiver) -> None:
    zone: dict[tuple[str, str], Any] = dict(OTHERS)
    async with dns_server(zone) as port, sqlite_running(**settings(port)) as doors:
        await doors.graphql.create_service("relay", port=receiver.port, fromEmail="me@example.com")
        for number, algorithm in enumerate(("RSA", "ED25519")):
            made = await change(
                doors, "generateDkimKey", domain="example.com", selector=f"s{number}", algorithm=algorithm
            )
            refused = await change(doors, "activateDkimKey", id=made["dkimKey"]["id"])
            assert [(error["code"], error["field"]) for error in refused["userErrors"]] == [("WRONG_STATE", ["id"])]
            record = made["dkimKey"]["dnsRecord"]
            zone[record["name"], "TXT"] = [" ".join(f'"{part}"' for part in record["strings"])]
            activated = await change(doors, "activateDkimKey", id=made["dkimKey"]["id"])
            assert (activated["dkimKey"]["state"], activated["userErrors"]) == ("ACTIVE", [])
        file = {"name": "a.bin", "content": "AAAA" * 40_000}
        for attachments in ([], [file]):
            mail = {"service": "relay", "to": [{"email": "b@x.example"}], "text": "Grüße\n\n", "subject": "é" * 99}
            await doors.graphql.send_email(**mail, attachments=attachments, waitSeconds=30)
        for mail_received in await receiver.wait_for(2):
            assert verified(mail_received.content, zone) == [True, True]
            altered = mail_received.content.replace(b"b@x.example", b"c@x.example")
            assert verified(altered, zone) == [False, False]
        found = (await doors.graphql.ask(CHECK, domain="me@example.com"))["checkDomain"]
        assert (found["spf"]["status"], found["mx"]["status"]) == ("BROKEN", "OK")
        assert [key["finding"] for key in found["dkim"]] == [{"status": "OK", "record": None}] * 2
        assert found["dmarc"] == {
            "policy": "quarantine",
            "spfAligned": False,
            "dkimAligned": True,
            "finding": {"status": "OK"},
        }
        trouble = (await doors.graphql.ask(CHECK, domain="trouble.example"))["checkDomain"]
        assert trouble["spf"] == {"status": "UNKNOWN", "dns": "FAILED"}
        assert trouble["mx"] == {"status": "UNKNOWN", "dns": "TIMED_OUT"}


def settings(port: int) -> dict[str, Any]:
    return {"dns_servers": "127.0.0.1", "dns_port": port, "dns_timeout": 1.0}


def verified(content: bytes, zone: dict[tuple[str, str], Any]) -> list[bool]:
    def look_up(name: bytes, timeout: int = 5) -> bytes:
        (text,) = zone[name.decode().rstrip("."), "TXT"]
        return "".join(text.replace('" "', "").split('"')).encode()

    return [_verified(content, number, look_up) for number in range(2)]


def _verified(content: bytes, number: int, look_up: object) -> bool:
    try:
        return bool(dkim.DKIM(content).verify(number, dnsfunc=look_up))
    except dkim.DKIMException:
        return False
