"""The verbs `heliograph service add`, `list` and `providers`.

A secret is never an argument, because every user of the machine may see those: it is asked for, or read from standard
input where that is no terminal, or from an environment variable that is named.
"""

import argparse
import getpass
import os
import sys
from pathlib import Path

from app.access.policy import ServiceScope
from app.database.key import public_id
from app.errors import CommandFailed
from app.outbound.smtp import smtp_guard
from app.services.check import ServiceValues
from app.services.manage import create_service, list_services
from app.services.models import Service
from app.services.oauth2 import OAuth2Grant, OAuth2Values
from app.services.providers import ProviderName, provider_named, providers
from app.services.sealed import checked_sealer
from app.settings import Settings
from app.smtp.server import Encryption
from app.verb import with_database

_EVERY_SERVICE = ServiceScope(all=True, service_ids=frozenset())


def add_service_verbs(service: argparse.ArgumentParser) -> None:
    """Give the verb `service` its verbs, each with `verb` set to what runs it."""
    verbs = service.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_options(verbs.add_parser("add", help="make a service, filled in from its provider's preset"))
    listed = verbs.add_parser("list", help="list all services")
    listed.set_defaults(verb=_list)
    known = verbs.add_parser("providers", help="list the providers that have a preset, and what is to be known of them")
    known.set_defaults(verb=_providers)


def _add_options(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", help="its name: 1 to 40 letters, digits, _ and -")
    add.add_argument(
        "--provider",
        type=_enumerated,
        choices=[name.value for name in ProviderName],
        metavar="NAME",
        help="fill in the rest from this provider, e.g. gmail; `service providers` lists them",
    )
    add.add_argument("--region", help="the provider's region, e.g. eu-west-1")
    add.add_argument("--host", help="host of the SMTP server")
    add.add_argument("--port", type=int, help="its port (default: the provider's, else 587, 465 with SSL)")
    add.add_argument(
        "--encryption",
        type=_enumerated,
        choices=[kind.value for kind in Encryption],
        metavar="KIND",
        help="tls, ssl or none (default: the provider's, else tls)",
    )
    add.add_argument("--username", help="user name for AUTH")
    add.add_argument("--password-env", metavar="VARIABLE", help="environment variable that holds the password")
    add.add_argument(
        "--ses-secret-key",
        action="store_true",
        help="the password that is read is an IAM secret access key; Amazon SES's password is derived from it",
    )
    _add_oauth2_options(add.add_argument_group("access tokens, instead of a password"))
    add.add_argument("--label", help="a name for people")
    add.add_argument("--from-email", help="sender of mail that names none")
    add.add_argument("--from-name", help="display name of that sender")
    add.set_defaults(verb=_add)
    add.epilog = "The password is asked for, or read from standard input where that is no terminal."


def _add_oauth2_options(group: argparse._ArgumentGroup) -> None:
    grants = [grant.value for grant in OAuth2Grant]
    group.add_argument("--oauth2", type=_enumerated, choices=grants, metavar="GRANT", help="see docs/providers.md")
    group.add_argument("--client-id", help="the application's id; of a service account its address")
    group.add_argument("--tenant", help="Microsoft's tenant")
    group.add_argument("--client-secret-env", metavar="VARIABLE", help="environment variable that holds it")
    group.add_argument("--refresh-token-env", metavar="VARIABLE", help="environment variable that holds it")
    group.add_argument("--private-key-file", type=Path, metavar="FILE", help="of a service account: PEM")


def _enumerated(text: str) -> str:
    return text.upper().replace("-", "_")


def _add(settings: Settings, options: argparse.Namespace) -> int:
    values = _values(options)

    async def add() -> int:
        made = await create_service(
            values,
            None,
            await checked_sealer(settings),
            max_trusted_ca_chars=settings.max_trusted_ca_chars,
            guard=smtp_guard(settings),
        )
        print(_line(made))
        provider = provider_named(made.provider)
        for note in provider.notes if provider else ():
            print(f"  {note}")
        return 0

    return with_database(settings, add())


def _values(options: argparse.Namespace) -> ServiceValues:
    oauth2 = _oauth2(options)
    secret = None if oauth2 else _secret(options)
    return ServiceValues(
        name=options.name,
        provider=options.provider,
        region=options.region,
        host=options.host,
        port=options.port,
        encryption=options.encryption,
        username=options.username,
        password=None if options.ses_secret_key else secret,
        ses_secret_access_key=secret if options.ses_secret_key else None,
        oauth2=oauth2,
        label=options.label,
        from_email=options.from_email,
        from_name=options.from_name,
    )


def _oauth2(options: argparse.Namespace) -> OAuth2Values | None:
    if not options.oauth2:
        return None
    try:
        private_key = options.private_key_file.read_text() if options.private_key_file else None
    except (OSError, UnicodeError):
        raise CommandFailed(f"{options.private_key_file} cannot be read") from None
    return OAuth2Values(
        grant=options.oauth2,
        client_id=options.client_id or "",
        tenant=options.tenant,
        client_secret=_in_environment(options.client_secret_env),
        refresh_token=_in_environment(options.refresh_token_env),
        private_key=private_key,
    )


def _in_environment(variable: str | None) -> str | None:
    if variable and not os.environ.get(variable):
        raise CommandFailed(f"the environment variable {variable} is not set")
    return os.environ[variable] if variable else None


def _secret(options: argparse.Namespace) -> str | None:
    """The password; None where nothing asks for one."""
    if options.password_env:
        return _in_environment(options.password_env)
    provider = provider_named(options.provider)
    if not options.username and not (provider and provider.username):
        return None
    if sys.stdin.isatty():
        return getpass.getpass("secret access key: " if options.ses_secret_key else "password: ")
    return sys.stdin.readline().rstrip("\r\n")


def _list(settings: Settings, options: argparse.Namespace) -> int:
    async def show() -> int:
        after = None
        while found := await list_services(after, 100, _EVERY_SERVICE):
            for service in found:
                print(_line(service))
            after = found[-1].id
        return 0

    return with_database(settings, show())


def _line(service: Service) -> str:
    where = f"{service.host}:{service.port} {service.encryption}" if service.host else "the built-in inbox"
    return f"{public_id('svc', service.id)}  {service.name}  {service.provider or service.kind}  {where}"


def _providers(settings: Settings, options: argparse.Namespace) -> int:
    for name, provider in providers().items():
        region = f" (region, e.g. {provider.region.example})" if provider.region else ""
        asked = ", ".join(kind.value for kind in provider.credentials)
        print(f"{name.value}  {provider.label}{region}  {asked}")
        for note in provider.notes:
            print(f"  {note}")
    return 0
