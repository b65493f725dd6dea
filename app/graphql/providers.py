"""Mail providers: what the service presets are made from."""

from datetime import date
from typing import Annotated, Self

import strawberry

from app.graphql.context import Info
from app.services import providers as known
from app.services.providers import CredentialKind, ProviderName, PublishedLimit
from app.smtp.server import Encryption

strawberry.enum(CredentialKind, description="What a provider asks for.")
strawberry.enum(PublishedLimit, description="What providers limit, in the terms of a service.")


@strawberry.type(description="One limit that the provider publishes.")
class ProviderLimit:
    name: PublishedLimit = strawberry.field(description="Which one.")
    value: float = strawberry.field(description="How much it allows.")
    is_default: bool = strawberry.field(description="Whether a new service gets it; else it depends on the account.")
    note: str | None = strawberry.field(description="What the source adds.")
    source: str = strawberry.field(description="The page that says so.")
    checked: date = strawberry.field(description="When that was looked up.")


@strawberry.type(description="A mail provider, as far as is known.")
class Provider:
    name: ProviderName = strawberry.field(description="As createService takes it.")
    label: str = strawberry.field(description="Its name for people.")
    host: str | None = strawberry.field(description="Its server, in its default region; {region}: it has none.")
    port: int | None = strawberry.field(description="TCP port of its server.")
    encryption: Encryption | None = strawberry.field(description="How the connection is protected.")
    server_source: str | None = strawberry.field(description="The page that says so.")
    server_checked: date | None = strawberry.field(description="When that was looked up.")
    regions: list[str] = strawberry.field(description="Its regions, where they are few; else one for an example.")
    credentials: list[CredentialKind] = strawberry.field(description="What it asks for, the best first.")
    username: str | None = strawberry.field(description="The user name that all its customers have.")
    limits: list[ProviderLimit] = strawberry.field(description="The limits that it publishes.")
    unpublished: list[PublishedLimit] = strawberry.field(description="Limits of which no figure was found.")
    spf_include: str | None = strawberry.field(
        description="What the SPF record of a sender's domain includes; it may hold {region}."
    )
    spf_source: str | None = strawberry.field(description="The page that says so.")
    notes: list[str] = strawberry.field(description="What else has to be known.")

    @classmethod
    def of(cls, name: ProviderName, provider: known.Provider) -> Self:
        server, region, spf = provider.server, provider.region, provider.spf
        return cls(
            name=name,
            label=provider.label,
            host=provider.host(None) or (server.host if server else None),
            port=server.port if server else None,
            encryption=server.encryption if server else None,
            server_source=server.source if server else None,
            server_checked=server.checked if server else None,
            regions=list(region.hosts) or [region.example] if region else [],
            credentials=list(provider.credentials),
            username=provider.username,
            limits=[_limit(limit, provider.limits[limit]) for limit in provider.limits],
            unpublished=list(provider.unpublished),
            spf_include=spf.include if spf else None,
            spf_source=spf.source if spf else None,
            notes=list(provider.notes),
        )


async def providers(info: Info) -> list[Provider]:
    """The mail providers that a service can be filled in from. Needs an API key, whatever it may do."""
    await info.context.principal()
    return [Provider.of(name, provider) for name, provider in known.providers().items()]


async def provider(
    info: Info, name: Annotated[ProviderName, strawberry.argument(description="Which one.")]
) -> Provider:
    """One mail provider. Needs an API key, whatever it may do."""
    await info.context.principal()
    return Provider.of(name, known.providers()[name])


def _limit(name: PublishedLimit, limit: known.Limit) -> ProviderLimit:
    return ProviderLimit(
        name=name,
        value=limit.value,
        is_default=limit.default,
        note=limit.note,
        source=limit.source,
        checked=limit.checked,
    )
