"""The operator's verbs, typed as an operator types them."""

import asyncio
import re
import sqlite3
from dataclasses import replace

import pytest

from app.inbox.receiver import Receiver, Stage
from tests.journeys.program import ADMIN_KEY, ROOT, Finished, Heliograph
from tests.journeys.reading import read_mail

REST_MAIL = {"to": "a@x.example", "subject": "Hello", "body_text": "Hello."}
KEY = re.compile(r"hg_[\w-]{43}")


@pytest.fixture
def heliograph(heliograph: Heliograph) -> Heliograph:
    """The program in an empty folder."""
    (heliograph.folder / "heliograph.db").unlink()
    return heliograph


async def test_help_teaches_every_verb(heliograph: Heliograph) -> None:
    told, told_of_key, asked_nothing = await asyncio.gather(
        heliograph.run("--help"), heliograph.run("key", "--help"), heliograph.run()
    )
    assert told.status == told_of_key.status == 0
    for verb in (
        "serve",
        "worker",
        "migrate",
        "schema",
        "key",
        "secrets",
        "send",
        "diagnose",
        "HELIOGRAPH_",
        "docs/operations.md",
    ):
        assert verb in told.output
    assert all(verb in told_of_key.output for verb in ("create", "list", "rotate", "revoke"))
    assert (asked_nothing.status, asked_nothing.output) == (2, "")
    assert "usage: heliograph" in asked_nothing.errors


@pytest.mark.usefixtures("executed")
async def test_the_first_start_shows_a_key_that_works_and_the_second_does_not(heliograph: Heliograph) -> None:
    async with heliograph.serving(api_key=None) as server:
        [key] = set(KEY.findall(server.output))
        assert f"{server.url}/graphql" in server.output
        curl = server.output.partition("  curl ")[2]
        assert f"{server.url}/api/v2/email" in curl
        assert key in curl
        response = await server.doors.with_key(key).rest.send("email", REST_MAIL)
        assert response.json() == {"count": 1}
        [captured] = await server.doors.with_key(key).graphql.inbox()
        assert captured["subject"] == "Hello"
        assert key not in server.errors
        server.terminate()
        assert (await server.ended()).status == 0
    async with heliograph.serving(api_key=key) as server:
        assert not KEY.search(server.output)
        assert server.output.splitlines()[-1].split(maxsplit=2)[2] == "heliograph key create --name NAME"
        assert (await server.doors.rest.send("email", REST_MAIL)).status_code == 200
    files = {path.name: path.stat().st_mode & 0o777 for path in heliograph.folder.iterdir()}
    assert files["heliograph.key"] == 0o600
    assert key.encode() not in (heliograph.folder / "heliograph.db").read_bytes()


async def test_keys_are_made_listed_and_revoked(heliograph: Heliograph) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        made = await heliograph.run("key", "create", "--name", "web shop")
        [key] = KEY.findall(made.output)
        [key_id] = re.findall(r"key_[0-9a-f]{32}", made.output)
        shop = server.doors.with_key(key)
        assert (await shop.rest.send("email", REST_MAIL)).status_code == 200

        listed = await heliograph.run("key", "list")
        assert [line.split() for line in listed.output.splitlines()][1] == [
            key_id,
            f"{key[:11]}…",
            "active",
            "admin",
            "web",
            "shop",
        ]
        assert key not in listed.output

        revoked = await heliograph.run("key", "revoke", key_id)
        assert (revoked.status, revoked.output) == (0, "revoked web shop\n")
        assert (await shop.rest.send("email", REST_MAIL)).status_code == 401
        listed, unknown, no_role = await asyncio.gather(
            heliograph.run("key", "list"),
            heliograph.run("key", "revoke", "web shop"),
            heliograph.run("key", "create", "--name", "x", "--role", "nobody"),
        )
        assert "revoked" in listed.output.splitlines()[1]
        assert_one_line(unknown, "`heliograph key list` shows them")
        assert_one_line(no_role, "there is no role named 'nobody'")


async def test_a_key_is_made_with_limits_and_rotated(heliograph: Heliograph) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        limits = ("--per-minute", "1", "--network", "127.0.0.0/8", "--expires", "2099-01-01T00:00:00+02:00")
        made = await heliograph.run("key", "create", "--name", "web shop", *limits)
        [old] = KEY.findall(made.output)
        [key_id] = re.findall(r"key_[0-9a-f]{32}", made.output)
        shop = server.doors.with_key(old)
        assert (await shop.rest.send("email", REST_MAIL)).status_code == 200
        assert (await shop.rest.send("email", REST_MAIL)).status_code == 429

        rotated = await heliograph.run("key", "rotate", key_id, "--overlap", "3600")
        [new] = KEY.findall(rotated.output)
        assert f"{old[:11]}…, works until" in rotated.output
        for key in (old, new):
            assert (await server.doors.with_key(key).rest.send("email", REST_MAIL)).status_code == 429
        listed, wrong, long, again = await asyncio.gather(
            heliograph.run("key", "list"),
            heliograph.run(
                *("key", "create", "--name", "", "--per-day", "0", "--network", "10.0.0.1/8"),
                *("--expires", "2020-01-01T00:00:00Z"),
            ),
            heliograph.run("key", "create", "--name", "x", "--role", "r" * 1000),
            heliograph.run("key", "rotate", key_id, "--overlap", "60"),
        )
    assert f"{new[:11]}…  active" in listed.output
    assert f"({old[:11]}… works until" in listed.output
    for field in ("name", "expiresAt", "limits.perDay", "allowedNetworks.0"):
        assert f"heliograph: {field}: " in wrong.errors
    assert_one_line(long, "there is no role named 'rrr")
    assert len(long.errors) < 200
    assert_one_line(again, f"overlapSeconds: The secret before this one, {old[:11]}…, works until")


async def test_a_mail_is_sent_from_the_command_line(heliograph: Heliograph, receiver: Receiver) -> None:
    (heliograph.folder / "Übersicht.csv").write_bytes(b"a;b\r\n")
    (heliograph.folder / "own.env").write_text(f"HELIOGRAPH_API_KEY={ADMIN_KEY}\n")
    operator = heliograph.having(env_file="own.env")
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        await server.doors.graphql.create_service("relay", port=receiver.port)
        sent = await operator.run(
            *("send", "--service", "relay", "--to", "Ann <ann@x.example>", "--to", "bob@x.example"),
            *("--bcc", "hidden@x.example", "--from", "Jürgen <j@x.example>", "--subject", "Grüße"),
            *("--attach", "Übersicht.csv"),
            typed="Typed in.\n",
        )
        assert sent.status == 0
        message_id, *recipients = sent.output.splitlines()
        assert [line.split()[:2] for line in recipients] == [
            ["ann@x.example:", "sent"],
            ["bob@x.example:", "sent"],
            ["hidden@x.example:", "sent"],
        ]
        assert (await server.doors.graphql.message(message_id)).state == "SENT"
        receiver.script.on(Stage.RCPT, "550 5.1.1 No such user", address="gone@x.example")
        failed, refused, keyless, missing, no_sender, two_senders, unclosed = await asyncio.gather(
            operator.run("send", "--service", "relay", "--to", "gone@x.example", "--text", "x"),
            operator.run("send", "--to", "ann@", "--text", "x"),
            heliograph.run("send", "--to", "ann@x.example", "--text", "x"),
            operator.run("send", "--to", "ann@x.example", "--text", "x", "--attach", "nothing.pdf"),
            operator.run("send", "--to", "ann@x.example", "--text", "x", "--from", ","),
            operator.run("send", "--to", "ann@x.example", "--text", "x", "--from", "a@x.example, b@x.example"),
            operator.run("send", "--to", '"ann', "--to", '"Bob" <bob@', "--text", "x"),
        )
    assert (failed.status, failed.output.splitlines()[1:]) == (
        1,
        ["  gone@x.example: failed 550 5.1.1 No such user"],
    )
    assert_one_line(refused, "Invalid email - 'ann@'.")
    assert_one_line(keyless, "HELIOGRAPH_API_KEY")
    assert_one_line(missing, "nothing.pdf: No such file or directory")
    assert_one_line(no_sender, "--from takes one mailbox")
    assert_one_line(two_senders, "--from takes one mailbox")
    assert "to.1.email: Invalid email" in unclosed.errors
    [mail] = receiver.mails
    assert (mail.reverse_path, mail.recipients) == (
        "j@x.example",
        ("ann@x.example", "bob@x.example", "hidden@x.example"),
    )
    read = read_mail(mail.content)
    assert (read.sender, read.subject, read.text) == ("Jürgen <j@x.example>", "Grüße", "Typed in.\r\n")
    assert [(file.name, file.octets) for file in read.files] == [("Übersicht.csv", b"a;b\r\n")]


async def test_the_database_is_brought_up_to_date_once(heliograph: Heliograph) -> None:
    too_early = await heliograph.run("key", "list")
    assert_one_line(too_early, "there is no database yet; `heliograph serve` makes one")
    assert not (heliograph.folder / "heliograph.db").exists()
    (heliograph.folder / "heliograph.db").touch()
    assert_one_line(await heliograph.run("key", "list"), "run `heliograph migrate` first")
    first, second = await heliograph.run("migrate"), await heliograph.run("migrate")
    assert (first.status, first.output.splitlines()[0]) == (0, "applied 0001_initial")
    assert (second.status, second.output) == (0, "nothing to apply\n")
    with sqlite3.connect(heliograph.folder / "heliograph.db") as database:
        assert database.execute("SELECT COUNT(*) FROM message").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize("verb", [("serve",), ("migrate",), ("key", "list")])
async def test_another_program_s_file_is_not_touched(heliograph: Heliograph, verb: tuple[str, ...]) -> None:
    file = heliograph.folder / "heliograph.db"
    file.write_text("Somebody's notes, which are no database.\n")
    assert_one_line(await heliograph.run(*verb), "heliograph.db is no SQLite database; it was not touched")
    assert file.read_text() == "Somebody's notes, which are no database.\n"


async def test_the_schema_printed_is_the_schema_on_file(heliograph: Heliograph) -> None:
    printed = await heliograph.run("schema")
    assert (printed.status, printed.output) == (0, (ROOT / "schema.graphql").read_text())


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "a time that is no number": ({"lease": "soon"}, "HELIOGRAPH_LEASE: "),
    "a lease that ends before it is renewed": ({"lease": 5, "lease_renewal": 5}, "HELIOGRAPH_LEASE_RENEWAL: "),
    "an unknown level": ({"log_level": "loud"}, "HELIOGRAPH_LOG_LEVEL: "),
    "an unknown database": ({"database_url": "mysql://x"}, "the database URL must start with"),
    "a folder that is not there": ({"database_url": "sqlite:///not/there.db"}, "No such file or directory"),
    "a weak secret key": ({"secret_keys": "weak"}, "HELIOGRAPH_SECRET_KEYS: "),
    "a weak admin key": ({"admin_api_key": "weak"}, "HELIOGRAPH_ADMIN_API_KEY: "),
    "a host of somebody else": ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1:0: "),
    "a database that is away": (
        {"database_url": "postgres://u:s3cret-pass@127.0.0.1:1/x", "secret_keys": "x" * 32},
        "the database is not available",
    ),
}


async def test_a_wrong_setting_stops_the_start_with_one_line(heliograph: Heliograph) -> None:
    folders = [heliograph.folder / name.replace(" ", "-") for name in WRONG]
    for folder in folders:
        folder.mkdir()
    ended = await asyncio.gather(
        *(
            replace(heliograph.having(**given), folder=folder).run("serve")
            for folder, (given, _) in zip(folders, WRONG.values(), strict=True)
        )
    )
    for finished, (_, line) in zip(ended, WRONG.values(), strict=True):
        assert_one_line(finished, line)
        assert "s3cret-pass" not in finished.errors


async def test_a_port_that_is_taken_stops_the_start_before_any_promise(
    heliograph: Heliograph, receiver: Receiver
) -> None:
    ended = await heliograph.having(port=receiver.port, admin_api_key=ADMIN_KEY).run("serve")
    assert_one_line(ended, f"cannot listen on 127.0.0.1:{receiver.port}: Address already in use")
    assert ended.output == ""


async def test_a_first_start_that_cannot_listen_leaves_the_key_to_the_next_one(
    heliograph: Heliograph, receiver: Receiver
) -> None:
    ended = await heliograph.having(port=receiver.port).run("serve")
    assert_one_line(ended, "Address already in use")
    async with heliograph.serving(api_key=None) as server:
        [key] = set(KEY.findall(server.output))
        assert (await server.doors.with_key(key).rest.send("email", REST_MAIL)).status_code == 200


def assert_one_line(finished: Finished, text: str) -> None:
    """Exit status 1, and a last line that says why; before it there may be log lines, but no traceback."""
    *log, line = finished.errors.splitlines()
    assert finished.status == 1
    assert line.startswith("heliograph: ")
    assert text in line
    assert all(re.match(r"\d{4}-\d\d-\d\d ", before) for before in log)


async def test_a_service_is_added_from_a_preset_and_its_password_is_no_argument(heliograph: Heliograph) -> None:
    await heliograph.migrate()
    secret = "canary-of-the-operator"
    added = await heliograph.run("service", "add", "shop", "--provider", "sendgrid", typed=f"{secret}\n")
    assert (added.status, added.errors) == (0, "")
    refused = await heliograph.run("service", "add", "ses", "--provider", "amazon-ses", "--username", "A", typed="k\n")
    assert (refused.status, refused.errors) == (
        1,
        "heliograph: region: AMAZON_SES needs a region, for example eu-west-1.\n",
    )
    heliograph.settings["CLIENT_SECRET"] = secret
    office = ("service", "add", "office", "--provider", "microsoft-365", "--username", "me@x.example")
    oauth2 = ("--oauth2", "microsoft-client-credentials", "--client-id", "app", "--tenant", "t.example")
    assert (await heliograph.run(*office, *oauth2, "--client-secret-env", "CLIENT_SECRET")).errors == ""
    both = await heliograph.run(*office, *oauth2, "--password-env", "CLIENT_SECRET")
    assert (both.status, both.errors) == (1, "heliograph: give a password or --oauth2, not both\n")
    listed = await heliograph.run("service", "list")
    assert [line.split()[1:] for line in listed.output.splitlines()] == [
        ["shop", "SENDGRID", "smtp.sendgrid.net:587", "TLS"],
        ["office", "MICROSOFT_365", "smtp.office365.com:587", "TLS"],
    ]
    with sqlite3.connect(heliograph.folder / "heliograph.db") as database:
        found = database.execute("SELECT username, oauth2_grant FROM service ORDER BY id").fetchall()
    assert found == [("apikey", None), ("me@x.example", "MICROSOFT_CLIENT_CREDENTIALS")]
    assert secret not in added.output
    assert secret.encode() not in (heliograph.folder / "heliograph.db").read_bytes()
