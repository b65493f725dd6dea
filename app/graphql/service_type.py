"""The output type of services."""

from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry

from app.access.policy import sees_service
from app.database.key import public_id
from app.graphql.circuit import Circuit
from app.graphql.context import Info
from app.graphql.types import Node
from app.graphql.usage import Usage
from app.services import models
from app.services.models import ServiceKind
from app.services.oauth2 import OAuth2Grant
from app.services.providers import ProviderName
from app.services.usage import usage_of
from app.smtp.server import Encryption

strawberry.enum(
    OAuth2Grant,
    description="By what right access tokens are issued: Microsoft 365 to an application itself, or by a user's refresh"
    " token; Google by a user's refresh token, or to a service account that acts for the user.",
)


@strawberry.type(description="How a service gets its access tokens. Its secrets can be set but never read.")
class OAuth2:
    grant: OAuth2Grant = strawberry.field(description="By what right tokens are issued.")
    client_id: str = strawberry.field(description="The application's id; of a service account its address.")
    tenant: str | None = strawberry.field(description="Microsoft's tenant; null: common.")
    scope: str | None = strawberry.field(description="What is asked for; null: the default of the grant.")
    token_endpoint: str | None = strawberry.field(description="Who issues tokens; null: the server's setting.")
    has_client_secret: bool = strawberry.field(description="Whether a client secret is stored.")
    has_refresh_token: bool = strawberry.field(description="Whether a refresh token is stored.")
    has_private_key: bool = strawberry.field(description="Whether a private key is stored.")

    @classmethod
    def of(cls, row: models.Service) -> Self | None:
        if row.oauth2_grant is None or row.oauth2_client_id is None:
            return None
        return cls(
            grant=OAuth2Grant(row.oauth2_grant),
            client_id=row.oauth2_client_id,
            tenant=row.oauth2_tenant,
            scope=row.oauth2_scope,
            token_endpoint=row.oauth2_token_endpoint,
            has_client_secret=row.sealed_client_secret is not None,
            has_refresh_token=row.sealed_refresh_token is not None,
            has_private_key=row.sealed_private_key is not None,
        )


@strawberry.type(description="A named SMTP account. Its password can be set but never read.")
class Service(Node):
    name: str = strawberry.field(description="Lower-case; part of the REST route's path.")
    label: str | None = strawberry.field(description="A name for people.")
    description: str | None = strawberry.field(description="What it is for.")
    kind: ServiceKind = strawberry.field(description="A real server, or the built-in inbox.")
    is_active: bool = strawberry.field(description="An inactive service takes no mail, and keeps what it has.")
    provider: ProviderName | None = strawberry.field(description="The provider that it was filled in from.")
    region: str | None = strawberry.field(description="The provider's region.")
    host: str | None = strawberry.field(description="Host name or IP address of the SMTP server.")
    port: int | None = strawberry.field(description="TCP port of the SMTP server.")
    encryption: Encryption = strawberry.field(description="How the connection is protected.")
    username: str | None = strawberry.field(description="User name for AUTH.")
    has_password: bool = strawberry.field(description="Whether a password is stored.")
    oauth2: OAuth2 | None = strawberry.field(description="How it gets access tokens, instead of a password.")
    clear_text_auth: bool = strawberry.field(description="Whether AUTH may go without TLS to another machine.")
    trusted_ca: str | None = strawberry.field(
        description="PEM certificates of authorities trusted for this service, besides those trusted for all."
    )
    from_email: str | None = strawberry.field(description="Sender of mail that names none.")
    from_name: str | None = strawberry.field(description="Display name of that sender.")
    reply_to_email: str | None = strawberry.field(description="Reply-To of mail that names none.")
    reply_to_name: str | None = strawberry.field(description="Display name of that Reply-To.")
    respond_async: bool = strawberry.field(
        description="Whether the REST route answers 202 at once, and does not wait for the verdict."
    )
    is_managed: bool = strawberry.field(
        description="Whether it is defined by the MAIL_* environment variables, and not changed through the API."
    )
    max_connections: int | None = strawberry.field(description="Connections at a time; null: the server's setting.")
    max_recipients_per_transaction: int | None = strawberry.field(
        description="A mail to more goes out in several transactions; null: the server's setting."
    )
    messages_per_second: float | None = strawberry.field(description="How fast its mail leaves; null: no limit.")
    recipients_per_minute: int | None = strawberry.field(description="In any minute; null: no limit.")
    recipients_per_hour: int | None = strawberry.field(description="In any hour; null: no limit.")
    recipients_per_day: int | None = strawberry.field(description="In any 24 hours; null: no limit.")
    paused_at: datetime | None = strawberry.field(
        description="Since when it is paused by pauseService: it takes mail and keeps it, and nothing leaves."
    )
    created_at: datetime = strawberry.field(description="When it was made.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    row: strawberry.Private[models.Service]

    @strawberry.field(
        description="Why nothing leaves: what pauseService was told, else the open circuit's reason, and what tells"
        " more. Null: it does."
    )
    async def paused_reason(self, info: Info) -> str | None:
        if self.row.paused_at is not None:
            return self.row.paused_reason
        circuit = await info.context.circuits.load(self.row.id)
        return f"{circuit.reason} (`heliograph diagnose {self.name}` tells more.)" if circuit else None

    @strawberry.field(description="Set while the server cannot be talked to.")
    async def circuit(self, info: Info) -> Circuit | None:
        circuit = await info.context.circuits.load(self.row.id)
        return Circuit.of(circuit) if circuit else None

    @strawberry.field(
        description="Names of the services by which its mail leaves while its server cannot be talked to, in this"
        " order; only those that the API key may read."
    )
    async def fallbacks(self, info: Info) -> list[str]:
        keys = [UUID(key) for key in self.row.fallbacks or ()]
        principal = await info.context.principal()
        found = await info.context.service_names.load_many([key for key in keys if sees_service(principal, key)])
        return [name for name in found if name is not None]

    @strawberry.field(description="How much of each limit that is set is used, by all workers together.")
    async def usage(self, info: Info) -> list[Usage]:
        return [Usage.of(usage) for usage in usage_of(vars(self.row), await info.context.used.load(self.row.id))]

    @classmethod
    def of(cls, row: models.Service) -> Self:
        return cls(
            id=strawberry.ID(public_id("svc", row.id)),
            name=row.name,
            label=row.label,
            description=row.description,
            kind=ServiceKind(row.kind),
            is_active=row.is_active,
            provider=ProviderName(row.provider) if row.provider else None,
            region=row.region,
            host=row.host,
            port=row.port,
            encryption=Encryption(row.encryption),
            username=row.username,
            has_password=row.sealed_password is not None,
            oauth2=OAuth2.of(row),
            clear_text_auth=row.clear_text_auth,
            trusted_ca=row.trusted_ca,
            from_email=row.from_email,
            from_name=row.from_name,
            reply_to_email=row.reply_to_email,
            reply_to_name=row.reply_to_name,
            respond_async=row.respond_async,
            is_managed=row.is_managed,
            max_connections=row.max_connections,
            max_recipients_per_transaction=row.max_recipients_per_transaction,
            messages_per_second=row.messages_per_second,
            recipients_per_minute=row.recipients_per_minute,
            recipients_per_hour=row.recipients_per_hour,
            recipients_per_day=row.recipients_per_day,
            paused_at=row.paused_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
            row=row,
        )
