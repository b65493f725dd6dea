"""Browser keys through the schema: made, refused, shown, and written down."""

from typing import Any

from tests.graphql.api import Api, codes
from tests.templates.stored import make

BROWSER = (
    "browser { origins templates recipients replyToFromVisitor limitsPerClientAddress { perMinute perHour perDay } }"
)


async def test_a_browser_key_is_shown_and_audited_as_it_was_given(api: Api) -> None:
    given, role_id = await _given(api)
    made = await api.mutate(
        "createApiKey", f"key apiKey {{ id {BROWSER} }}", roleId=role_id, name="form", browser=given
    )
    assert codes(made) == []
    shown = {
        **given,
        "origins": ["https://example.com"],
        "limitsPerClientAddress": {"perMinute": 3, "perHour": None, "perDay": None},
    }
    assert made["apiKey"]["browser"] == shown
    read = await api.ask(f"query ($id: ID!) {{ apiKey(id: $id) {{ {BROWSER} }} }}", id=made["apiKey"]["id"])
    assert read["apiKey"]["browser"] == shown
    (entry,) = (await api.ask("{ auditLog(first: 1) { nodes { action after } } }"))["auditLog"]["nodes"]
    assert entry["action"] == "CREATE_API_KEY"
    assert entry["after"]["browser"]["origins"] == ["https://example.com"]
    assert entry["after"]["browser"]["limitsPerClientAddress"] == {"perMinute": 3}
    assert made["key"] not in str(entry)
    changed = await api.mutate("updateApiKey", f"apiKey {{ {BROWSER} }}", id=made["apiKey"]["id"], name="other")
    assert changed["apiKey"]["browser"] == shown


async def test_what_is_missing_or_wrong_is_named_and_no_key_is_made(api: Api) -> None:
    given, role_id = await _given(api)
    table: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({"origins": []}, [("browser.origins", "INVALID_INPUT")]),
        ({"origins": ["http://example.com"]}, [("browser.origins.0", "INVALID_INPUT")]),
        ({"templates": []}, [("browser.templates", "INVALID_INPUT")]),
        ({"templates": ["tmpl_x"]}, [("browser.templates.0", "TEMPLATE_NOT_FOUND")]),
        ({"recipients": []}, [("browser.recipients", "NO_RECIPIENTS")]),
        ({"recipients": ["desk"]}, [("browser.recipients.0", "INVALID_EMAIL")]),
        ({"limitsPerClientAddress": None}, [("browser.limitsPerClientAddress", "INVALID_INPUT")]),
        ({"limitsPerClientAddress": {"perDay": 0}}, [("browser.limitsPerClientAddress.perDay", "INVALID_INPUT")]),
    ]
    for changes, expected in table:
        browser = {**given, **changes}
        assert codes(await api.mutate("createApiKey", "key", roleId=role_id, name="x", browser=browser)) == expected
    keys = (await api.ask("{ apiKeys(first: 9) { nodes { browser { origins } } } }"))["apiKeys"]["nodes"]
    assert keys == [{"browser": None}]


async def _given(api: Api) -> tuple[dict[str, Any], str]:
    await make("Contact", 1)
    template = (await api.ask('{ template(name: "Contact") { id } }'))["template"]["id"]
    role_id: str = (await api.ask("{ viewer { roleId } }"))["viewer"]["roleId"]
    given = {
        "origins": ["HTTPS://Example.com:443"],
        "templates": [template],
        "recipients": ["desk@owner.example"],
        "replyToFromVisitor": True,
        "limitsPerClientAddress": {"perMinute": 3},
    }
    return given, role_id
