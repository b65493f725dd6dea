"""Rate limits through the schema: set, changed, shown, and every alias of a request counted."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.access.models import Grant
from app.clock import now
from tests.factories import count, make_service
from tests.graphql.api import Api, codes

LIMITS = "limits { perMinute perHour perDay }"
NONE = {"perMinute": None, "perHour": None, "perDay": None}
RATE_LIMIT = "rateLimit(service: $service) { name scope limit used remaining resetAt }"
MAIL = {"service": "email", "to": [{"email": "a@x.example"}], "subject": "Hello", "text": "Hello."}
ERRORS = "userErrors { code field message retryable retryAfter }"


@pytest.fixture(autouse=True)
async def service(api: Api) -> None:
    await make_service("email", from_email="me@sender.example")


async def make_limited(api: Api, *, key: Any = None, grant: Any = None, **role: Any) -> tuple[str, str, Api]:
    """A new role and API key with these limits: the ids of both, and the API asked with the key."""
    grants = [{"actions": ["SEND"], "limits": grant}]
    made = await api.mutate("createRole", "role { id }", name="shop", grants=grants, limits=role)
    given = {"roleId": made["role"]["id"], "name": "web", "limits": key}
    created = await api.mutate("createApiKey", "key apiKey { id }", **given)
    return made["role"]["id"], created["apiKey"]["id"], api.as_key(created["key"])


async def usage(api: Api, service: str | None = "email") -> list[Any]:
    query = f"query ($service: String) {{ viewer {{ {RATE_LIMIT} }} }}"
    limits: list[Any] = (await api.ask(query, service=service))["viewer"]["rateLimit"]
    return limits


async def send(api: Api, recipients: int = 1, **fields: Any) -> Any:
    to = [{"email": f"{number}@x.example"} for number in range(recipients)]
    document = f"mutation ($input: SendEmailInput!) {{ sendEmail(input: $input) {{ message {{ id }} {ERRORS} }} }}"
    return (await api.ask(document, input={**MAIL, "to": to, **fields}))["sendEmail"]


async def test_limits_are_set_changed_and_cleared(api: Api) -> None:
    role, key, _ = await make_limited(api, perMinute=5, perDay=100, key={"perHour": 7}, grant={"perMinute": 3})
    query = f"query ($role: ID!, $key: ID!) {{ role(id: $role) {{ {LIMITS} grants {{ {LIMITS} }} }}"
    found = await api.ask(f"{query} apiKey(id: $key) {{ {LIMITS} }} }}", role=role, key=key)
    assert found["role"]["limits"] == {"perMinute": 5, "perHour": None, "perDay": 100}
    assert found["role"]["grants"] == [{"limits": {**NONE, "perMinute": 3}}]
    assert found["apiKey"]["limits"] == {**NONE, "perHour": 7}

    renamed = await api.mutate("updateRole", f"role {{ name {LIMITS} }}", id=role, name="store")
    assert renamed["role"] == {"name": "store", "limits": found["role"]["limits"]}
    replaced = await api.mutate("updateRole", f"role {{ {LIMITS} }}", id=role, limits={"perHour": 9})
    assert replaced["role"] == {"limits": {**NONE, "perHour": 9}}
    renamed = await api.mutate("updateApiKey", f"apiKey {{ name {LIMITS} }}", id=key, name="  shop front ")
    assert renamed["apiKey"] == {"name": "shop front", "limits": {**NONE, "perHour": 7}}
    cleared = await api.mutate("updateApiKey", f"apiKey {{ name {LIMITS} }}", id=key, limits=None)
    assert cleared["apiKey"] == {"name": "shop front", "limits": NONE}
    assert (await api.mutate("updateRole", f"role {{ {LIMITS} }}", id=role, limits=None))["role"]["limits"] == NONE


async def test_what_is_wrong_with_limits_is_named_with_its_path(api: Api) -> None:
    role, key, _ = await make_limited(api)
    wrong = {"perMinute": 0, "perHour": -1, "perDay": 1_000_000_001}
    expected = [(f"limits.{name}", "INVALID_INPUT") for name in wrong]
    grants = [{"actions": ["SEND"]}, {"service": "email", "actions": ["SEND"], "limits": wrong}]

    payload = await api.mutate("createRole", "role { id }", name="x", limits=wrong, grants=grants)
    assert codes(payload) == [*expected, *((f"grants.1.{path}", code) for path, code in expected)]
    assert payload["userErrors"][0]["message"] == "The limit is from 1 to 1000000000, or null for none."
    assert codes(await api.mutate("updateRole", "role { id }", id=role, limits=wrong)) == expected
    assert codes(await api.mutate("createApiKey", "key", roleId=role, name="x", limits=wrong)) == expected
    assert codes(await api.mutate("updateApiKey", "apiKey { id }", id=key, name="", limits=wrong)) == [
        ("name", "INVALID_INPUT"),
        *expected,
    ]
    assert codes(await api.mutate("updateApiKey", "apiKey { id }", id=key, name=None)) == [("name", "INVALID_INPUT")]
    assert codes(await api.mutate("updateApiKey", "apiKey { id }", id=role, name="x")) == [("id", "NOT_FOUND")]


async def test_who_does_not_manage_all_services_changes_no_key(api: Api) -> None:
    _, key, limited = await make_limited(api, perMinute=5)
    payload = await limited.mutate("updateApiKey", "apiKey { id }", id=key, limits=None)
    assert codes(payload) == [("", "FORBIDDEN")]


async def test_every_alias_of_a_request_counts_and_the_one_too_many_is_refused(api: Api) -> None:
    _, _, limited = await make_limited(api, perMinute=5)
    fields = " ".join(f"m{number}: sendEmail(input: $input) {{ message {{ id }} {ERRORS} }}" for number in range(8))
    began = now()
    answers = await limited.ask(f"mutation ($input: SendEmailInput!) {{ {fields} }}", input=MAIL)

    refused = [answers[f"m{number}"] for number in range(5, 8)]
    assert [answers[f"m{number}"]["userErrors"] for number in range(5)] == [[]] * 5
    for payload in refused:
        assert payload["message"] is None
        (error,) = payload["userErrors"]
        assert (error["code"], error["field"], error["retryable"]) == ("RATE_LIMITED", None, True)
        assert 1 <= error["retryAfter"] <= 61
        assert error["message"].startswith(
            "API limit(s) exceeded. The limit of role 'shop' is 5 recipients per minute."
        )
    assert await count("message") == await count("recipient") == 5
    (used,) = await usage(limited)
    reset_at = datetime.fromisoformat(used.pop("resetAt"))
    assert used == {"name": "RECIPIENTS_PER_MINUTE", "scope": "ROLE", "limit": 5, "used": 5, "remaining": 0}
    assert began + timedelta(seconds=60) < reset_at <= now() + timedelta(seconds=61)


async def test_more_than_the_limit_itself_is_not_to_be_tried_again(api: Api) -> None:
    _, _, limited = await make_limited(api, key={"perHour": 5})
    (error,) = (await send(limited, 6))["userErrors"]
    assert (error["code"], error["retryable"], error["retryAfter"]) == ("RATE_LIMITED", False, None)
    assert "API key 'web' is 5 recipients per hour, and this mail has 6: it can never pass" in error["message"]
    assert [limit["used"] for limit in await usage(limited)] == [0]


async def test_editing_a_role_forgets_nothing_that_was_used(api: Api) -> None:
    role, _, limited = await make_limited(api, grant={"perHour": 5})
    assert (await send(limited, 4))["userErrors"] == []
    old = await Grant.filter(service_id=None).values_list("id", flat=True)

    grants = [{"service": "email", "actions": ["SEND"], "limits": {"perHour": 4}}]
    await api.mutate("updateRole", "role { id }", id=role, grants=grants)
    assert not await Grant.filter(id__in=old, role__name="shop").exists()
    (error,) = (await send(limited))["userErrors"]
    assert "role 'shop' with service 'email' is 4 recipients per hour" in error["message"]
    grants[0]["limits"] = {"perHour": 5}
    await api.mutate("updateRole", "role { id }", id=role, grants=grants)
    assert (await send(limited))["userErrors"] == []


async def test_a_grant_for_all_services_counts_each_by_itself(api: Api) -> None:
    await make_service("other", from_email="me@sender.example")
    _, _, limited = await make_limited(api, grant={"perDay": 3}, perDay=5)
    assert (await send(limited, 3))["userErrors"] == []
    assert codes(await send(limited)) == [("", "RATE_LIMITED")]
    assert (await send(limited, 2, service="other"))["userErrors"] == []
    assert "role 'shop' is 5" in (await send(limited, service="other"))["userErrors"][0]["message"]

    def seen(limits: list[Any]) -> dict[str, tuple[int, int]]:
        return {limit["scope"]: (limit["used"], limit["remaining"]) for limit in limits}

    assert seen(await usage(limited)) == {"ROLE": (5, 0), "GRANT": (3, 0)}
    assert seen(await usage(limited, "OTHER")) == {"ROLE": (5, 0), "GRANT": (2, 1)}
    assert seen(await usage(limited, None)) == seen(await usage(limited, "nowhere")) == {"ROLE": (5, 0)}


async def test_a_replay_is_not_counted(api: Api) -> None:
    _, _, limited = await make_limited(api, key={"perMinute": 2})
    first = await send(limited, 2, idempotencyKey="order-1")
    again = await send(limited, 2, idempotencyKey="order-1")
    assert (again["userErrors"], again["message"]) == ([], first["message"])
    assert codes(await send(limited, idempotencyKey="order-2")) == [("", "RATE_LIMITED")]
    await usage(limited)
    assert [limit["used"] for limit in await usage(limited)] == [2]
