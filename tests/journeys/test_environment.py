"""A program configured by MAIL_* alone, as its .env file has them."""

import re

import pytest

from app.inbox.receiver import Receiver
from tests.journeys.conftest import Eventually, Running
from tests.journeys.doors import UPDATE_SERVICE, Refused, error_of
from tests.journeys.program import ADMIN_KEY, Heliograph, Server
from tests.journeys.reading import read_mail

MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
CANARY = "canary-7f3a9c51-never-to-be-seen"
KEY = re.compile(r"hg_[\w-]{43}")
DEFINED = '{ service(name: "email") { id kind host isManaged } }'


@pytest.fixture
def heliograph(heliograph: Heliograph) -> Heliograph:
    """The program with its settings in `own.env`."""
    return heliograph.having(env_file="own.env")


def write_env(installed: Heliograph, *lines: str) -> None:
    (installed.folder / "own.env").write_text("\n".join(lines))


def relay(receiver: Receiver) -> tuple[str, ...]:
    return (
        "MAIL_MAILER=smtp",
        "MAIL_HOST=127.0.0.1",
        f"MAIL_PORT={receiver.port}",
        "MAIL_USERNAME=me",
        f"MAIL_PASSWORD={CANARY}",
        "MAIL_ENCRYPTION=null",
        "MAIL_FROM_ADDRESS=desk@x.example",
        'MAIL_FROM_NAME="The Desk"',
    )


async def curl(server: Server) -> str:
    """Send the mail that the greeting suggests; returns the line of the greeting that announces it."""
    [key] = set(KEY.findall(server.output))
    announced, _, command = server.output.partition("  curl ")
    body = command.split("-d '")[1].partition("'")[0]
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    sent = await server.doors.http.post(command.split()[0], content=body, headers=headers)
    assert (sent.status_code, sent.headers["x-message-status"]) == (200, "sent")
    return announced.split("\n\n")[-2]


async def test_a_mail_goes_to_the_server_that_the_file_names(heliograph: Heliograph) -> None:
    async with Receiver(keep=True, credentials={"me": CANARY}) as receiver:
        write_env(heliograph, *relay(receiver))
        async with heliograph.serving(api_key=None) as server:
            assert await curl(server) == "Send a first mail; email is a real server:"
            doors = server.doors.with_key(KEY.findall(server.output)[0])
            service = (await doors.graphql.ask(DEFINED))["service"]
            assert (service["kind"], service["host"], service["isManaged"]) == ("SMTP", "127.0.0.1", True)
            with pytest.raises(Refused, match="defined by the environment variables MAIL_"):
                await doors.graphql.change(UPDATE_SERVICE, id=service["id"], host="192.0.2.1")
            server.terminate()
            ended = await server.ended()
    [mail] = receiver.mails
    assert (mail.username, mail.reverse_path, mail.recipients) == ("me", "desk@x.example", ("you@example.com",))
    assert read_mail(mail.content).sender == "The Desk <desk@x.example>"
    files = [path for path in heliograph.folder.iterdir() if path.name != "own.env"]
    assert [path.name for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in ended.output + ended.errors


async def test_the_log_mailer_lets_nothing_out(heliograph: Heliograph) -> None:
    write_env(heliograph, "MAIL_MAILER=log", "MAIL_HOST=192.0.2.1", "MAIL_PORT=25")
    async with heliograph.serving(api_key=None) as server:
        assert await curl(server) == "Send a first mail; it lands in the inbox, not on the internet:"
        [captured] = await server.doors.with_key(KEY.findall(server.output)[0]).graphql.inbox()
        assert (captured["recipients"], captured["subject"]) == (["you@example.com"], "Hello")
        assert "It works." not in server.errors


async def test_a_sandbox_that_was_there_first_makes_room(heliograph: Heliograph) -> None:
    installed = heliograph.having(admin_api_key=ADMIN_KEY)
    async with installed.serving() as server:
        assert (await server.doors.rest.send("email", MAIL)).status_code == 200
    async with Receiver(keep=True, credentials={"me": CANARY}) as receiver:
        write_env(installed, *relay(receiver))
        async with installed.serving() as server:
            assert (await server.doors.rest.send("email", MAIL)).status_code == 200
            assert (await server.doors.rest.send("email-sandbox", MAIL)).status_code == 200
            assert len(await server.doors.graphql.inbox()) == 2
            assert re.search(r"WARNING .*SANDBOX is 'email-sandbox' now", server.errors)
            sent = await installed.run("send", "--to", "b@x.example", "--text", "Typed.")
            assert (sent.status, len(receiver.mails)) == (0, 2), sent.errors
        write_env(installed)
        async with installed.serving() as server:
            assert (await server.doors.graphql.ask(DEFINED))["service"]["isManaged"] is False
            assert (await server.doors.rest.send("email", MAIL | {"from_email": "x@x.example"})).status_code == 200
            assert re.search(r"INFO .*MAIL_\* are not set: the service 'email'", server.errors)
    assert [mail.reverse_path for mail in receiver.mails] == ["desk@x.example", "desk@x.example", "x@x.example"]


async def test_processes_that_start_at_once_make_one_service(
    heliograph: Heliograph, database_url: str, eventually: Eventually
) -> None:
    secrets = {"admin_api_key": ADMIN_KEY, "secret_keys": "thirty-two characters are enough for a test"}
    installed = heliograph.having(database_url=database_url, **secrets)
    async with Receiver(keep=True, credentials={"me": CANARY}) as receiver:
        write_env(installed, *relay(receiver))
        workers = [await installed.start("worker") for _ in range(2)]
        async with installed.serving("--no-worker") as server:

            async def all_deliver() -> bool:
                return all("Heliograph delivers mail" in worker.output for worker in workers)

            await eventually(all_deliver)
            services = await server.doors.graphql.ask("{ services(first: 10) { nodes { name isManaged } } }")
            assert services["services"]["nodes"] == [{"name": "email", "isManaged": True}]
            assert (await server.doors.rest.send("email", MAIL)).headers["x-message-status"] == "sent"
            assert [mail.username for mail in receiver.mails] == ["me"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["MAIL_MAILER=smtp"], "MAIL_HOST: "),
        (["MAIL_MAILER=sendmail"], "MAIL_MAILER or MAIL_DRIVER: "),
        (["MAIL_HOST=mx.example", "MAIL_PASSWORD=" + CANARY], "MAIL_USERNAME: "),
        (["MAIL_FROM_ADDRESS=" + CANARY], "MAIL_FROM_ADDRESS: "),
    ],
)
async def test_a_wrong_value_stops_the_start_with_one_line(heliograph: Heliograph, lines: list[str], told: str) -> None:
    write_env(heliograph, *lines)
    for verb in ("serve", "worker"):
        ended = await heliograph.run(verb)
        assert (ended.status, ended.output) == (1, "")
        assert ended.errors.splitlines()[-1].startswith(f"heliograph: {told}")
        assert CANARY not in ended.errors


async def test_the_last_sender_is_the_environment_s_through_both_doors(sqlite_running: Running) -> None:
    defaults = {"mail_from_address": "last@x.example", "mail_from_name": "Last"}
    graphql_mail = {"to": [{"email": "a@x.example"}], "text": "Hello.", "waitSeconds": 30}
    async with sqlite_running(**defaults) as doors:
        for name, given in (("none", {"fromEmail": None}), ("own", {"fromEmail": "own@x.example", "fromName": "Own"})):
            await doors.graphql.create_service(name, kind="SANDBOX", host=None, **given)
        asked = {"from_email": "asked@x.example", "from_name": "Asked"}
        for service in ("none", "own"):
            await doors.graphql.send_email(service=service, **graphql_mail)
            await doors.rest.send(service, MAIL)
        await doors.graphql.send_email(
            service="none", **graphql_mail, **{"from": {"email": "asked@x.example", "name": "Asked"}}
        )
        await doors.rest.send("own", MAIL | asked)
        await doors.rest.send("none", MAIL | {"from_name": "Asked"})
        senders = [mail["from"] for mail in reversed(await doors.graphql.inbox())]
    assert senders == [
        *["Last <last@x.example>"] * 2,
        *["Own <own@x.example>"] * 2,
        *["Asked <asked@x.example>"] * 2,
        "Asked <last@x.example>",
    ]


async def test_without_a_sender_from_anywhere_there_is_none(sqlite_running: Running) -> None:
    async with sqlite_running(mail_from_name="Last") as doors:
        await doors.graphql.create_service("none", kind="SANDBOX", host=None, fromEmail=None)
        refused = error_of(await doors.rest.send("none", MAIL))
        assert (refused["status_code"], refused["context"]["error_code"]) == (400, "NO_SENDER")
