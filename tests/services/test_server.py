"""A stored service becomes a Server."""

import pytest

from app.outbound.smtp import smtp_guard
from app.services.models import Service, ServiceKind
from app.services.secret import Sealer, SealError
from app.services.server import server_for
from app.settings import Settings
from app.smtp.server import Credentials, Encryption, Server, Timeouts

SEALER = Sealer(["k" * 32])
SETTINGS = Settings.model_validate(
    {f"smtp_{phase}_timeout": seconds for seconds, phase in enumerate(Timeouts.__slots__, start=1)}
    | {"ehlo_name": "mail.example.org", "trusted_ca_file": __file__}
)


def stored(**columns: object) -> Service:
    return Service(
        **{"name": "email", "kind": "SMTP", "host": "smtp.example.org", "port": 465, "encryption": "SSL", **columns}
    )


def test_everything_stored_and_set_arrives() -> None:
    service = stored(username="u", clear_text_auth=True, trusted_ca="PEM")
    service.sealed_password = SEALER.seal("canary", service.id)

    assert server_for(service, SETTINGS, SEALER) == Server(
        host="smtp.example.org",
        port=465,
        encryption=Encryption.SSL,
        client_name="mail.example.org",
        credentials=Credentials("u", "canary"),
        timeouts=Timeouts(*range(1, 11)),
        trusted_ca_file=__file__,
        trusted_ca="PEM",
        clear_text_auth=True,
        guard=smtp_guard(SETTINGS),
    )


def test_a_service_without_credentials_sends_none() -> None:
    server = server_for(stored(), Settings(ehlo_name="h"), SEALER)

    assert server.credentials is None
    assert server.trusted_ca_file is None
    assert server.timeouts == Timeouts()


def test_a_password_of_another_service_is_not_used() -> None:
    service = stored(username="u")
    service.sealed_password = SEALER.seal("canary", stored().id)

    with pytest.raises(SealError, match="another row") as refused:
        server_for(service, SETTINGS, SEALER)
    assert "canary" not in repr(refused.value)


def test_a_sandbox_has_no_server() -> None:
    sandbox = stored(kind=ServiceKind.SANDBOX, host=None, port=None, encryption="NONE")

    with pytest.raises(ValueError, match="the service email is not an SMTP server"):
        server_for(sandbox, SETTINGS, SEALER)


def test_the_password_does_not_show() -> None:
    service = stored(username="u")
    service.sealed_password = SEALER.seal("canary", service.id)

    assert "canary" not in f"{service!r}{service}{server_for(service, SETTINGS, SEALER)!r}"
