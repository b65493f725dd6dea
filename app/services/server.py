"""A stored service as the SMTP server to talk to."""

from functools import partial

from app.outbound.smtp import smtp_guard
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer
from app.services.tokens import Tokens
from app.settings import Settings
from app.smtp.server import Credentials, Encryption, Server, Timeouts, TokenCredentials


def server_for(service: Service, settings: Settings, sealer: Sealer) -> Server:
    """Where and how to reach a service of kind SMTP, its password unsealed; access tokens are had when they are needed.

    Raises SealError if the password cannot be unsealed, ValueError for a SANDBOX service, which has no server.
    """
    if service.kind != ServiceKind.SMTP or service.host is None or service.port is None:
        raise ValueError(f"the service {service.name} is not an SMTP server")
    return Server(
        host=service.host,
        port=service.port,
        encryption=Encryption(service.encryption),
        client_name=settings.client_name,
        credentials=_credentials(service, settings, sealer),
        timeouts=_timeouts(settings),
        trusted_ca_file=str(settings.trusted_ca_file) if settings.trusted_ca_file else None,
        trusted_ca=service.trusted_ca,
        clear_text_auth=service.clear_text_auth,
        guard=smtp_guard(settings),
    )


def _credentials(service: Service, settings: Settings, sealer: Sealer) -> Credentials | TokenCredentials | None:
    if service.username is not None and service.oauth2_grant is not None:
        return TokenCredentials(service.username, partial(Tokens(settings, sealer).obtain, service.id))
    if service.username is None or service.sealed_password is None:
        return None
    return Credentials(service.username, sealer.open(service.sealed_password, service.id))


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect=settings.smtp_connect_timeout,
        greeting=settings.smtp_greeting_timeout,
        ehlo=settings.smtp_ehlo_timeout,
        tls=settings.smtp_tls_timeout,
        auth=settings.smtp_auth_timeout,
        mail=settings.smtp_mail_timeout,
        rcpt=settings.smtp_rcpt_timeout,
        data=settings.smtp_data_timeout,
        content=settings.smtp_content_timeout,
        dot=settings.smtp_dot_timeout,
    )
