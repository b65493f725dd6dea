"""Providers through the schema: listed with their sources, and services filled in from them."""

from app.database.connection import rows
from app.services.models import Service
from app.services.providers import ProviderName
from app.services.server import server_for
from app.services.ses import ses_smtp_password
from app.smtp.server import Credentials
from tests.factories import make_key
from tests.graphql.api import Api, codes

FILLED = "id provider region host port encryption username hasPassword maxConnections maxRecipientsPerTransaction"


async def test_whoever_has_a_key_sees_every_provider(api: Api) -> None:
    nobody = api.as_key(await make_key("nobody", []))
    found = await nobody.ask(
        """{ providers { name } provider(name: AMAZON_SES) {
            host port encryption regions credentials spfInclude unpublished notes serverSource serverChecked
            limits { name value isDefault note source checked }
        } }"""
    )
    assert [provider["name"] for provider in found["providers"]] == list(ProviderName)
    ses = found["provider"]
    assert (ses["host"], ses["port"], ses["encryption"]) == ("email-smtp.{region}.amazonaws.com", 587, "TLS")
    assert ses["limits"][0]["name"] == "RECIPIENTS_PER_MESSAGE"
    assert ses["limits"][0]["source"].startswith("https://docs.aws.amazon.com/")
    assert ses["limits"][0]["checked"] == "2026-11-28"
    assert {limit["name"]: limit["isDefault"] for limit in ses["limits"]}["RECIPIENTS_PER_DAY"] is False
    assert (await api.as_key(None).refused("{ providers { name } }"))["code"] == "UNAUTHENTICATED"


async def test_a_service_is_filled_in_and_remembers_its_provider(api: Api) -> None:
    made = await api.mutate(
        "createService", f"service {{ {FILLED} }}", name="m", provider="MICROSOFT_365", username="u", password="canary"
    )
    service = made["service"]
    key = service.pop("id")
    assert service == {
        "provider": "MICROSOFT_365",
        "region": None,
        "host": "smtp.office365.com",
        "port": 587,
        "encryption": "TLS",
        "username": "u",
        "hasPassword": True,
        "maxConnections": 3,
        "maxRecipientsPerTransaction": 500,
    }
    changed = await api.mutate(
        "updateService", f"service {{ {FILLED} }}", id=key, provider=None, maxRecipientsPerTransaction=None
    )
    assert changed["service"] == {**service, "id": key, "provider": None, "maxRecipientsPerTransaction": None}


async def test_a_secret_access_key_becomes_the_password_and_is_nowhere(api: Api) -> None:
    given = {"name": "ses", "provider": "AMAZON_SES", "username": "AKIA", "sesSecretAccessKey": "canary"}
    refused = await api.mutate("createService", "service { id }", **given)
    assert codes(refused) == [("region", "INVALID_INPUT")]
    made = await api.mutate("createService", f"service {{ {FILLED} }}", **given, region="eu-west-1")
    assert made["service"]["host"] == "email-smtp.eu-west-1.amazonaws.com"
    assert await credentials(api) == Credentials("AKIA", ses_smtp_password("canary", "eu-west-1"))
    changed = await api.mutate(
        "updateService", f"service {{ {FILLED} }}", id=made["service"]["id"], sesSecretAccessKey="canary2"
    )
    assert await credentials(api) == Credentials("AKIA", ses_smtp_password("canary2", "eu-west-1"))
    kept = await rows("SELECT * FROM service"), await rows("SELECT * FROM audit_entry")
    assert "canary" not in repr((refused, made, changed, kept))


async def credentials(api: Api) -> object:
    service = await Service.get(name="ses")
    return server_for(service, api.parts.settings, api.parts.sealer).credentials


OAUTH2 = {"grant": "GOOGLE_REFRESH_TOKEN", "clientId": "app", "clientSecret": "canary", "refreshToken": "canary"}
SERVICE = """service { id hasPassword oauth2 {
    grant clientId tenant tokenEndpoint hasClientSecret hasRefreshToken hasPrivateKey
} }"""


async def test_oauth2_and_a_password_take_each_others_place_and_are_never_shown(api: Api) -> None:
    given = {"name": "g", "provider": "GMAIL", "username": "me@gmail.com"}
    both = await api.mutate("createService", SERVICE, **given, oauth2=OAUTH2, password="canary")
    made = await api.mutate("createService", SERVICE, **given, oauth2=OAUTH2)
    assert codes(both) == [("oauth2", "INVALID_INPUT")]
    key = made["service"]["id"]
    assert (made["service"]["hasPassword"], made["service"]["oauth2"]) == (
        False,
        {
            "grant": "GOOGLE_REFRESH_TOKEN",
            "clientId": "app",
            "tenant": None,
            "tokenEndpoint": None,
            "hasClientSecret": True,
            "hasRefreshToken": True,
            "hasPrivateKey": False,
        },
    )
    replies = [
        await api.mutate("updateService", SERVICE, id=key, **change)
        for change in ({"password": "canary"}, {"oauth2": OAUTH2}, {"label": "x"}, {"username": None, "oauth2": None})
    ]
    shown = [(reply["service"]["hasPassword"], reply["service"]["oauth2"] is not None) for reply in replies]
    assert shown == [(True, False), (False, True), (False, True), (False, False)]
    kept = await rows("SELECT * FROM service"), await rows("SELECT * FROM audit_entry")
    assert "canary" not in repr((both, made, replies, kept))


async def test_what_is_wrong_with_oauth2_is_named_by_its_path(api: Api) -> None:
    given = {"name": "g", "provider": "GMAIL", "username": "me@gmail.com"}
    wrong = {**OAUTH2, "tenant": "t", "tokenEndpoint": "http://login.example/", "refreshToken": None}
    refused = await api.mutate("createService", SERVICE, **given, oauth2=wrong)
    assert codes(refused) == [
        (f"oauth2.{field}", "INVALID_INPUT") for field in ("tenant", "tokenEndpoint", "refreshToken")
    ]
    nobody = await api.mutate("createService", SERVICE, **{**given, "username": None}, oauth2=OAUTH2)
    sandbox = await api.mutate("createService", SERVICE, name="s", kind="SANDBOX", oauth2=OAUTH2)
    assert [codes(payload) for payload in (nobody, sandbox)] == [
        [("username", "INVALID_INPUT")],
        [("oauth2", "INVALID_INPUT")],
    ]


async def test_a_token_goes_to_no_other_server_unless_oauth2_is_given_again(api: Api) -> None:
    made = await api.mutate(
        "createService", SERVICE, name="g", provider="GMAIL", username="me@gmail.com", oauth2=OAUTH2
    )
    elsewhere = {"id": made["service"]["id"], "host": "elsewhere.example"}
    assert codes(await api.mutate("updateService", SERVICE, **elsewhere)) == [("oauth2", "INVALID_INPUT")]
    moved = await api.mutate("updateService", SERVICE, **elsewhere, oauth2=OAUTH2)
    assert moved["service"]["oauth2"]["hasClientSecret"] is True
