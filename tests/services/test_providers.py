"""The file of providers is whole, and fills in a service that keeps what it was given."""

from dataclasses import replace
from typing import Any

import pytest

from app.services.check import ServiceValues, check_service, in_stored_form
from app.services.fill import filled_in
from app.services.providers import Provider, ProviderName, PublishedLimit, provider_named, providers

REGION = {ProviderName.AMAZON_SES: "eu-west-1"}


def test_every_provider_is_in_the_file() -> None:
    assert list(providers()) == list(ProviderName)


@pytest.mark.parametrize("name", ProviderName)
def test_of_each_limit_there_is_a_figure_or_it_is_said_that_there_is_none(name: ProviderName) -> None:
    provider = providers()[name]
    assert not set(provider.limits) & set(provider.unpublished)
    assert {*provider.limits, *provider.unpublished} == set(PublishedLimit)
    assert provider.notes
    assert provider.credentials


@pytest.mark.parametrize("name", [name for name in ProviderName if name is not ProviderName.GENERIC])
def test_a_service_of_each_provider_is_whole(name: ProviderName) -> None:
    values = filled_in(ServiceValues(name="x", provider=name, region=REGION.get(name), password="p"))
    with_credentials = replace(values, username=values.username or "me@example.com")
    assert check_service(with_credentials) == ()
    server = providers()[name].server
    assert server is not None
    stored = in_stored_form(with_credentials)
    assert (stored.port, stored.encryption) == (server.port, server.encryption)


def test_each_region_that_is_listed_is_one() -> None:
    for provider in providers().values():
        if provider.region is not None:
            listed = [*provider.region.hosts, provider.region.example, *filter(None, [provider.region.default])]
            assert all(provider.region.has(region) for region in listed)
            assert provider.host(provider.region.example) is not None


def named(name: str) -> Provider:
    provider = provider_named(name)
    assert provider is not None
    return provider


@pytest.mark.parametrize(
    ("name", "region", "host", "spf"),
    [
        ("AMAZON_SES", "us-gov-west-1", "email-smtp.us-gov-west-1.amazonaws.com", "amazonses.com"),
        ("AMAZON_SES", None, None, "amazonses.com"),
        ("MAILGUN", None, "smtp.mailgun.org", "mailgun.org"),
        ("MAILGUN", "EU", "smtp.eu.mailgun.org", "mailgun.org"),
        ("ZOHO", "com.au", "smtp.zoho.com.au", "zoho.com.au"),
        ("ZOHO", None, "smtp.zoho.com", "zoho.com"),
        ("GOOGLE_WORKSPACE", None, "smtp.gmail.com", "_spf.google.com"),
        ("GMAIL", None, "smtp.gmail.com", None),
        ("GENERIC", None, None, None),
    ],
)
def test_host_and_spf_include_follow_the_region(
    name: str, region: str | None, host: str | None, spf: str | None
) -> None:
    assert (named(name).host(region), named(name).spf_include(region)) == (host, spf)


@pytest.mark.parametrize("name", [None, "", "gmail", "NOBODY"])
def test_a_name_that_no_provider_has_is_none(name: str | None) -> None:
    assert provider_named(name) is None


GIVEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"provider": "MICROSOFT_365"}, {"host": "smtp.office365.com", "port": 587, "encryption": "TLS"}),
    ({"provider": "MICROSOFT_365"}, {"messages_per_second": 0.5, "max_connections": 3, "recipients_per_day": 10_000}),
    ({"provider": "MICROSOFT_365"}, {"max_recipients_per_transaction": 500, "recipients_per_hour": None}),
    ({"provider": "MICROSOFT_365", "max_connections": 9}, {"max_connections": 9, "messages_per_second": 0.5}),
    ({"provider": "GMAIL", "host": "relay.example"}, {"host": "relay.example", "port": 587, "recipients_per_day": 500}),
    ({"provider": "GMAIL", "encryption": "SSL"}, {"host": "smtp.gmail.com", "port": None, "encryption": "SSL"}),
    ({"provider": "FASTMAIL", "port": 587}, {"port": 587, "encryption": None}),
    ({"provider": "AMAZON_SES", "region": "eu-west-1"}, {"messages_per_second": None, "recipients_per_day": None}),
    ({"provider": "MAILGUN"}, {"region": "US"}),
    ({"provider": "SENDGRID", "password": "p"}, {"username": "apikey"}),
    ({"provider": "SENDGRID", "password": "p", "username": "me"}, {"username": "me"}),
    ({"provider": "SENDGRID"}, {"username": None, "host": "smtp.sendgrid.net"}),
    ({"provider": "GENERIC"}, {"host": None, "port": None}),
    ({"provider": "GMAIL", "kind": "SANDBOX"}, {"host": None, "recipients_per_day": None}),
    ({}, {"host": None, "provider": None}),
]


@pytest.mark.parametrize(("given", "expected"), GIVEN)
def test_what_is_left_out_is_filled_in_and_nothing_else(given: dict[str, Any], expected: dict[str, Any]) -> None:
    values = filled_in(ServiceValues(name="x", **given))
    assert {name: getattr(values, name) for name in expected} == expected


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"provider": "NOBODY", "host": "a.example"}, "provider", "one of GMAIL"),
    ({"provider": "AMAZON_SES"}, "region", "AMAZON_SES needs a region, for example eu-west-1"),
    ({"provider": "AMAZON_SES", "region": "eu.evil.example/"}, "region", "written like eu-west-1"),
    ({"provider": "AMAZON_SES", "region": "eu" + "-a" * 40 + "-1"}, "region", "written like eu-west-1"),
    ({"provider": "MAILGUN", "region": "eu-west-1"}, "region", "they are US, EU"),
    ({"provider": "GMAIL", "region": "EU"}, "region", "Only a provider that has regions"),
    ({"host": "a.example", "region": "EU"}, "region", "Only a provider that has regions"),
    ({"provider": "GENERIC"}, "host", "needs a host"),
    ({"provider": "GMAIL", "kind": "SANDBOX"}, "provider", "takes no server"),
    (
        {"provider": "GMAIL", "username": "u", "ses_secret_access_key": "k"},
        "sesSecretAccessKey",
        "Only for the provider",
    ),
    (
        {
            "provider": "AMAZON_SES",
            "region": "eu-west-1",
            "username": "u",
            "password": "p",
            "ses_secret_access_key": "k",
        },
        "sesSecretAccessKey",
        "not both",
    ),
    (
        {"provider": "AMAZON_SES", "host": "a.example", "username": "u", "ses_secret_access_key": "k"},
        "region",
        "derived for a region",
    ),
    ({"provider": "AMAZON_SES", "region": "eu-west-1", "ses_secret_access_key": "k"}, "username", "needs a user name"),
]


@pytest.mark.parametrize(("given", "field", "message"), WRONG)
def test_a_contradiction_is_one_problem_with_its_field(given: dict[str, Any], field: str, message: str) -> None:
    (problem,) = check_service(filled_in(ServiceValues(name="x", **given)))
    assert problem.field == (field,)
    assert message in problem.message
