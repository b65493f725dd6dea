"""Secrets that were planted everywhere are found nowhere: not in the log, a reply, a row, or a file of the database."""

import logging
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from app.database.configuration import is_sqlite, sqlite_path
from app.database.connection import rows
from app.domains.key_pair import generate_key, private_text
from app.domains.models import DkimAlgorithm
from app.inbox.receiver import Receiver, Stage
from app.log import configure_logging
from app.queue.forgive import forgive_outage
from app.services.environment import define_service
from app.services.sealed import checked_sealer
from app.settings import Settings
from app.submission.submit import Submitter
from tests.journeys.conftest import run_application
from tests.journeys.doors import UPDATE_SERVICE, Doors
from tests.journeys.program import ADMIN_KEY, Heliograph
from tests.outbound.conftest import answer, serving
from tests.token_endpoint import token_endpoint

PASSWORD = "canary-password-5d1f"
NEW_PASSWORD = "canary-password-c7a2"
MAIL_PASSWORD = "canary-mail-password-91be"
DATABASE_PASSWORD = "canary-database-password-3c60"
SECRET_KEY = "canary-secret-key-" + "4f" * 20
QUERY = "canary-url-token-77e0"
CLIENT_SECRET = "canary-client-secret-08d4"
ACCESS_TOKEN = "canary-access-token-b51e"
IAM_SECRET = "canary/iam+secret+key+" + "a7" * 9
DKIM_PEM = private_text(generate_key(DkimAlgorithm.ED25519))
DKIM_KEY = DKIM_PEM.splitlines()[1]
OF_PROVIDERS = (CLIENT_SECRET, ACCESS_TOKEN, IAM_SECRET, DKIM_KEY)
SECRETS = (PASSWORD, NEW_PASSWORD, MAIL_PASSWORD, DATABASE_PASSWORD, SECRET_KEY, QUERY, ADMIN_KEY, *OF_PROVIDERS)
MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello.", "from_email": "me@x.example"}


AS_SAID = ("\0me\0{}", "\0env\0{}", "user=me@example.com\x01auth=Bearer {}\x01\x01")


def forms(secret: str) -> Iterator[bytes]:
    """As text, as AUTH carries it, and as hex."""
    yield secret.encode()
    yield secret.encode().hex().encode()
    yield from (
        b64encode(text.encode()).rstrip(b"=") for text in (secret, *(as_said.format(secret) for as_said in AS_SAID))
    )


def found_in(octets: bytes) -> list[str]:
    return [secret for secret in SECRETS if any(form in octets for form in forms(secret))]


@pytest.fixture(params=["human", "json"])
def log(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """Where everything is logged, at DEBUG, in either format, while the test runs; logging is given back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging(settings.model_copy(update={"log_format": request.param, "log_level": "DEBUG"}))
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    path = tmp_path / "log"
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # the test's own client, which logs what it asks for
    with path.open("w") as file:
        handler.setStream(file)
        yield path
        root.handlers[:] = handlers
        root.setLevel(level)
    for name in ("httpx2", "uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Header and body of every reply of either door, from now on."""
    kept: list[bytes] = []
    send = httpx2.AsyncClient.send

    async def keeping(self: httpx2.AsyncClient, request: httpx2.Request, **options: Any) -> httpx2.Response:
        response = await send(self, request, **options)
        kept.append(repr(response.headers.raw).encode() + await response.aread())
        return response

    monkeypatch.setattr(httpx2.AsyncClient, "send", keeping)
    return kept


@pytest.mark.timeout(300)
async def test_planted_secrets_are_found_nowhere(
    settings: Settings,
    log: Path,
    replies: list[bytes],
    heliograph: Heliograph,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings.model_copy(update={"database_url": with_password(settings.database_url)})
    async with Receiver(keep=True, credentials={"me": PASSWORD, "env": MAIL_PASSWORD}) as receiver:
        planted = {
            "mail_host": "127.0.0.1",
            "mail_port": receiver.port,
            "mail_username": "env",
            "mail_password": MAIL_PASSWORD,
            "mail_encryption": "none",
            "secret_keys": (SECRET_KEY,),
        }
        fetched = {"attachment_hosts": "localhost", "attachment_networks": "127.0.0.0/8,::1/128"}
        async with run_application(settings, secret_keys=SECRET_KEY, **fetched) as doors:
            changed = Settings(**settings.model_dump(exclude_defaults=True) | planted)
            await define_service(changed, await checked_sealer(changed), forgive=forgive_outage)
            await drive(doors, receiver, monkeypatch)
            await drive_providers(doors)
            ended = await drive_commands(heliograph, settings)
            stored = await everything_stored(settings)
        assert {mail.username for mail in receiver.mails} == {"me", "env"}
        spoken = b"".join(session.received for session in receiver.sessions)
        assert set(found_in(spoken)) == {PASSWORD, NEW_PASSWORD, MAIL_PASSWORD}, "the search finds what is there"
    assert_silent(log)
    assert [name for name, octets in stored.items() if found_in(octets)] == []
    assert len(replies) > 15
    assert [reply for reply in replies if found_in(reply)] == []
    assert [text for text in ended if found_in(text.encode())] == []


def assert_silent(log: Path) -> None:
    logged = log.read_bytes()
    assert re.search(rb"internal error [0-9a-f]{16}", logged)
    assert re.search(rb" DEBUG |\"debug\"", logged)
    assert found_in(logged) == []


def with_password(url: str) -> str:
    """The URL with a password, which a server that trusts the machine does not ask for."""
    parts = urlsplit(url)
    if is_sqlite(url) or parts.password:
        return url
    return parts._replace(
        netloc=f"{parts.username or ''}:{DATABASE_PASSWORD}@{parts.netloc.rpartition('@')[2]}"
    ).geturl()


async def drive(doors: Doors, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use both doors, with success and with every kind of failure."""
    graphql = doors.graphql
    relay = {"port": receiver.port, "username": "me", "password": PASSWORD}
    service = await graphql.create_service("relay", **relay)
    for name in ("email", "relay"):
        assert (await doors.rest.send(name, MAIL)).headers["x-message-status"] == "sent"
    await refuse(doors, service["id"], relay)
    receiver.script.on(Stage.AUTH, f"535 5.7.8 not {PASSWORD[:3]}", times=2)
    await graphql.change(UPDATE_SERVICE, id=service["id"], username="me", password=NEW_PASSWORD)
    assert (await doors.rest.send("relay", MAIL)).status_code == 500
    await graphql.change(UPDATE_SERVICE, id=service["id"], encryption="TLS", password=PASSWORD)
    assert (await doors.rest.send("relay", MAIL)).status_code == 500
    await fetch_with_token(doors)
    await break_both(doors, service["id"], relay, monkeypatch)
    audited = "{ auditLog(first: 99) { nodes { actor roleName origin action subjectName before after } } }"
    for query in ("{ services(first: 9) { nodes { id name hasPassword username } } }", audited):
        await graphql.post(query)


async def refuse(doors: Doors, service_id: str, relay: dict[str, Any]) -> None:
    """What is wrong with the request, its secrets in it."""
    graphql = doors.graphql
    wrong = f'mutation {{ createService(input: {{name: "x", password: "{PASSWORD}", port: "no"}}) {{ nothing }} }}'
    for query in (wrong, wrong[:-3], wrong.replace("nothing", "service { id }").replace('"no"', "99999")):
        await graphql.post(query)
    await graphql.post(UPDATE_SERVICE, input={"id": service_id, "port": {"password": PASSWORD}})
    await graphql.post(UPDATE_SERVICE, input={"password": PASSWORD})
    await graphql.post(UPDATE_SERVICE, input={"id": service_id, "passwort": 1, "password": PASSWORD})
    await graphql.post(UPDATE_SERVICE, input={"id": service_id, "host": "192.0.2.1", "port": 0, "password": PASSWORD})
    await graphql.post(
        "mutation ($input: CreateServiceInput!) { createService(input: $input) { userErrors { code } } }",
        input={"name": "relay", "host": "127.0.0.1", "encryption": "NONE", **relay},
    )
    for key in (None, SECRET_KEY):
        await doors.with_key(key).graphql.post("{ viewer { roleName } }")
        await doors.with_key(key).rest.send("relay", MAIL)
    await doors.http.get(f"/api/v2/relay?api_key={ADMIN_KEY}")
    await doors.http.get(f"/{QUERY[:1]}?token={QUERY}")


async def drive_providers(doors: Doors) -> None:
    """An access token that is taken, one that is refused, a password that is derived, keys that sign and do not."""
    graphql = doors.graphql

    def check(username: str, token: str) -> bool:
        return token == ACCESS_TOKEN

    async with (
        token_endpoint() as endpoint,
        Receiver(credentials=check, mechanisms=("XOAUTH2",), keep=True) as receiver,
    ):
        oauth2 = {
            "grant": "MICROSOFT_CLIENT_CREDENTIALS",
            "clientId": "app",
            "tenant": "t",
            "clientSecret": CLIENT_SECRET,
        }
        office = {
            "port": receiver.port,
            "username": "me@example.com",
            "oauth2": oauth2 | {"tokenEndpoint": endpoint.url},
        }
        issued = {"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600}
        refused = {"error": "invalid_client", "error_description": f"AADSTS7000215: {CLIENT_SECRET} is wrong"}
        endpoint.replies += [(200, issued), (401, refused), (200, issued | {"access_token": f"{ACCESS_TOKEN}-old"})]
        for name, status in (("office", 200), ("refused", 500), ("stale", 500)):
            await graphql.create_service(name, **office)
            assert (await doors.rest.send(name, MAIL)).status_code == status
        assert found_in(b"".join(session.received for session in receiver.sessions)) == [ACCESS_TOKEN]
    create = "mutation ($input: CreateServiceInput!) { createService(input: $input) { userErrors { code message } } }"
    ses = {
        "name": "ses",
        "provider": "AMAZON_SES",
        "region": "eu-west-1",
        "username": "AKIA",
        "sesSecretAccessKey": IAM_SECRET,
    }
    for given in (
        ses,
        ses | {"region": "nowhere"},
        ses | {"port": IAM_SECRET},
        ses | {"oauth2": oauth2 | {"grant": 1}},
    ):
        await graphql.post(create, input=given)
    sign = "mutation ($input: ImportDkimKeyInput!) { importDkimKey(input: $input) { userErrors { code message } } }"
    for pem in (DKIM_PEM, DKIM_PEM[:-30], DKIM_KEY):
        await graphql.post(sign, input={"domain": "x.example", "selector": f"s{len(pem)}", "privateKey": pem})
    await graphql.post(sign, input={"domain": 1, "privateKey": DKIM_PEM})


async def fetch_with_token(doors: Doors) -> None:
    """An attachment by a URL whose query is a secret: found, missing, at a host that is not allowed."""
    async for web in serving():
        web.answers[f"/a.txt?token={QUERY}"] = answer(b"Hello")
        for host in (f"localhost:{web.port}", "not-allowed.example"):
            for path in ("a.txt", "gone.txt"):
                url = f"http://{host}/{path}?token={QUERY}"
                await doors.rest.send("email", MAIL | {"attachment": url})
        assert web.targets == [f"/{path}?token={QUERY}" for path in ("a.txt", "gone.txt")]


async def break_both(doors: Doors, service_id: str, relay: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours where the secrets are at hand."""

    async def broken(*args: object, **options: object) -> None:
        raise RuntimeError("broken on purpose")

    with ExitStack() as stack:
        patched = stack.enter_context(monkeypatch.context())
        patched.setattr("app.graphql.services.update_service", broken)
        patched.setattr(Submitter, "submit", broken)
        response = await doors.graphql.post(UPDATE_SERVICE, input={"id": service_id, "password": NEW_PASSWORD})
        assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL"
        assert (await doors.rest.send("relay", MAIL)).status_code == 500


async def drive_commands(heliograph: Heliograph, settings: Settings) -> list[str]:
    """What the commands say, which succeed and which do not."""
    installed = heliograph.having(
        database_url=settings.database_url, secret_keys=SECRET_KEY, log_level="DEBUG", api_key=ADMIN_KEY
    )
    (heliograph.folder / "own.env").write_text(f"MAIL_HOST=x y\nMAIL_USERNAME=env\nMAIL_PASSWORD={MAIL_PASSWORD}\n")
    ended = [
        await installed.run("key", "list"),
        await installed.run("secrets", "rotate"),
        await installed.having(secret_keys="k" * 32).run("secrets", "rotate"),
        await installed.having(secret_keys="k" * 32).run("worker"),
        await installed.having(env_file="own.env").run("worker"),
        await installed.having(secret_keys=SECRET_KEY[:20]).run("serve"),
    ]
    assert [finished.status for finished in ended] == [0, 0, 1, 1, 1, 1], ended
    return [finished.output + finished.errors for finished in ended]


async def everything_stored(settings: Settings) -> dict[str, bytes]:
    """The octets of SQLite's files, the write-ahead log included; on PostgreSQL those of every row of every table."""
    if is_sqlite(settings.database_url):
        path = Path(sqlite_path(settings.database_url))
        stored = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
        assert f"{path.name}-wal" in stored
        return stored
    tables = await rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        table["tablename"]: b"".join(
            str(row["row"]).encode() for row in await rows(f'SELECT t::text AS row FROM "{table["tablename"]}" t')
        )
        for table in tables
    }
