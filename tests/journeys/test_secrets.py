"""The keys of stored passwords, as the operator gives, changes and loses them; the program in its own processes."""

import asyncio
import re
from pathlib import Path

import pytest

from app.inbox.receiver import Receiver
from tests.journeys.conftest import Eventually
from tests.journeys.doors import UPDATE_SERVICE
from tests.journeys.program import ADMIN_KEY, Finished, Heliograph

OLD_KEY = "canary-old-" + "a" * 40
NEW_KEY = "canary-new-" + "b" * 40
PASSWORD = "canary-7f3a9c51"
MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
FINGERPRINT = re.compile(r"with the key [0-9a-f]{8}$")


@pytest.fixture
def heliograph(heliograph: Heliograph, database_url: str) -> Heliograph:
    """The program with a database of either kind."""
    return heliograph.having(database_url=database_url, admin_api_key=ADMIN_KEY, log_level="DEBUG")


async def add_relays(installed: Heliograph, port: int, *names: str) -> None:
    async with installed.serving("--no-worker") as server:
        for name in names:
            await server.doors.graphql.create_service(name, port=port, username="me", password=PASSWORD)


def assert_refused(ended: Finished, text: str) -> None:
    assert (ended.status, ended.output) == (1, "")
    line = ended.errors.splitlines()[-1]
    assert line.startswith("heliograph: ")
    assert text in line
    assert "Traceback" not in ended.errors
    assert "canary" not in ended.errors


async def test_a_key_is_changed_as_the_page_says(heliograph: Heliograph) -> None:
    async with Receiver(keep=True, credentials={"me": PASSWORD}) as receiver:
        await add_relays(heliograph.having(secret_keys=OLD_KEY), receiver.port, "relay", "other")
        both = heliograph.having(secret_keys=f"{NEW_KEY},{OLD_KEY}")
        async with both.serving() as server:
            rotated = await both.run("secrets", "rotate")
            assert (rotated.status, rotated.output) == (0, "resealed 2, under the first key already 0\n")
            again = await both.run("secrets", "rotate")
            assert (again.status, again.output) == (0, "resealed 0, under the first key already 2\n")
            assert (await server.doors.rest.send("relay", MAIL)).headers["x-message-status"] == "sent"
        async with heliograph.having(secret_keys=NEW_KEY).serving() as server:
            assert (await server.doors.rest.send("other", MAIL)).headers["x-message-status"] == "sent"
    assert [mail.username for mail in receiver.mails] == ["me", "me"]


async def test_rotations_beside_running_servers_and_changes_lose_nothing(heliograph: Heliograph) -> None:
    names = [f"relay-{number}" for number in range(8)]
    async with Receiver(keep=True, credentials={"me": "changed"}) as receiver:
        await add_relays(heliograph.having(secret_keys=OLD_KEY), receiver.port, *names)
        both = heliograph.having(secret_keys=f"{NEW_KEY},{OLD_KEY}")
        # This one still seals with the old key, as a server does that was not started again yet.
        async with heliograph.having(secret_keys=f"{OLD_KEY},{NEW_KEY}").serving() as server:
            graphql = server.doors.graphql
            found = (await graphql.ask("{ services(first: 20) { nodes { id name } } }"))["services"]["nodes"]
            changes = [
                graphql.change(UPDATE_SERVICE, id=service["id"], username="me", password="changed")
                for service in found
                if service["name"] in names
            ]
            first, second, *_ = await asyncio.gather(
                both.run("secrets", "rotate"), both.run("secrets", "rotate"), *changes
            )
            assert (first.status, second.status) == (0, 0), first.errors + second.errors
            assert (await both.run("secrets", "rotate")).status == 0
            last = await both.run("secrets", "rotate")
            assert last.output == "resealed 0, under the first key already 8\n"
            sent = [(await server.doors.rest.send(name, MAIL)).headers["x-message-status"] for name in names]
    assert sent == ["sent"] * 8


@pytest.mark.parametrize("verb", ["serve", "worker"])
async def test_a_key_that_is_missing_stops_the_start_before_anything_changes(heliograph: Heliograph, verb: str) -> None:
    await add_relays(heliograph.having(secret_keys=OLD_KEY), 9, "relay", "other")
    wrong = heliograph.having(secret_keys=NEW_KEY)
    refused = await wrong.run(verb)
    assert_refused(refused, "the passwords of other, relay were sealed with the key ")
    assert FINGERPRINT.search(refused.errors.rstrip())
    rotated = await wrong.run("secrets", "rotate")
    assert (rotated.status, rotated.output) == (1, "resealed 0, under the first key already 0\n")
    told = rotated.errors.splitlines()[-2:]
    assert [line.split(" stays")[0] for line in told] == [
        f"heliograph: the password of {name}" for name in ("other", "relay")
    ]
    assert "canary" not in rotated.errors


async def test_a_key_file_that_is_gone_is_asked_for_and_not_made_anew(heliograph: Heliograph, tmp_path: Path) -> None:
    file = tmp_path / "the.key"
    file.write_text(OLD_KEY)
    installed = heliograph.having(secret_key_file=file)
    await add_relays(installed, 9, "relay")
    file.unlink()
    for verb in (("serve",), ("worker",)):
        assert_refused(await installed.run(*verb), f"{file}: the key file is missing")
    assert_refused(await installed.run("secrets", "rotate"), f"{file}: the key file is missing")
    assert not file.exists()


async def test_a_lost_key_costs_the_passwords_and_no_mail(heliograph: Heliograph, eventually: Eventually) -> None:
    async with Receiver(keep=True, credentials={"me": PASSWORD}) as receiver:
        old = heliograph.having(secret_keys=OLD_KEY)
        await add_relays(old, receiver.port, "relay")
        async with old.serving("--no-worker") as server:
            accepted = await server.doors.graphql.send_email(service="relay", to=[{"email": "a@x.example"}], text="x")
        installed = heliograph.having(secret_keys=NEW_KEY)
        forgotten = await installed.run("secrets", "forget", "relay")
        assert (forgotten.status, forgotten.output[:15]) == (0, "relay is paused")
        async with installed.serving() as server:
            graphql = server.doors.graphql
            service = (await graphql.ask('{ service(name: "relay") { id pausedReason hasPassword } }'))["service"]
            assert (service["pausedReason"][:12], service["hasPassword"]) == ("Its password", False)
            await graphql.change(UPDATE_SERVICE, id=service["id"], username="me", password=PASSWORD)
            await graphql.ask(
                "mutation ($id: ID!) { resumeService(input: {id: $id}) { userErrors { code } } }", id=service["id"]
            )

            async def has_left() -> bool:
                return (await graphql.message(accepted.id)).state == "SENT"

            await eventually(has_left)
            assert [mail.username for mail in receiver.mails] == ["me"]


async def test_a_service_of_the_environment_outlives_its_key(heliograph: Heliograph) -> None:
    async with Receiver(keep=True, credentials={"me": PASSWORD}) as receiver:
        (heliograph.folder / "own.env").write_text(
            f"MAIL_HOST=127.0.0.1\nMAIL_PORT={receiver.port}\nMAIL_USERNAME=me\nMAIL_PASSWORD={PASSWORD}\n"
            "MAIL_ENCRYPTION=none\nMAIL_FROM_ADDRESS=me@x.example\n"
        )
        mailer = heliograph.having(env_file="own.env")
        for key in (OLD_KEY, NEW_KEY):
            async with mailer.having(secret_keys=key).serving() as server:
                assert (await server.doors.rest.send("email", MAIL)).headers["x-message-status"] == "sent"
        assert_refused(await heliograph.having(secret_keys=OLD_KEY).run("serve"), "the passwords of email were")
