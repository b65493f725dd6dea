"""A new service, filled in from what its provider says. Pure."""

from dataclasses import replace

from app.services.check import ServiceValues
from app.services.models import ServiceKind
from app.services.providers import preset, provider_named


def filled_in(values: ServiceValues) -> ServiceValues:
    """The values, and what they leave out from their provider: what is given counts, whatever the provider says.

    Port and encryption go together: where one of them is given, the other is not the provider's. A user name that all
    customers of the provider have is filled in beside a password. Nothing else of a secret is; nor anything of a
    service without a provider, of a sandbox, or of a provider that does not exist.
    """
    provider = provider_named(values.provider)
    if provider is None or values.kind != ServiceKind.SMTP:
        return values
    with_server = values.port is None and not values.encryption
    columns = preset(provider, values.region, with_server=with_server)
    missing = {column: value for column, value in columns.items() if getattr(values, column) in (None, "")}
    if provider.region is not None and not values.region:
        missing["region"] = provider.region.default
    if provider.username and values.password and not values.username:
        missing["username"] = provider.username
    return replace(values, **missing)
