"""The operator's verbs."""

import argparse
import asyncio
import faulthandler
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from app.access.authenticate import authenticate
from app.access.manage import create_api_key, find_role, list_api_keys, revoke_api_key
from app.asgi import make_app
from app.database.configuration import DatabaseUrlError, is_sqlite, sqlite_file_exists
from app.database.connection import close_database, is_transient, open_database
from app.database.key import parse_public_id, public_id
from app.database.migrate import migrate, pending_migrations
from app.errors import InvalidInput, Refusal
from app.first_start import FirstStart, first_start
from app.graphql.schema import make_schema
from app.log import configure_logging
from app.mail.address import Mailbox, parse_mailboxes
from app.mail.draft import Attachment, Draft
from app.queue.choose import choose_engine
from app.queue.heartbeat import last_beat
from app.queue.lookup import list_recipients
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.services.secret import sealer_from
from app.settings import Settings, SettingsError, read_settings
from app.submission.submit import Submission, Submitter
from app.submission.verdict import VerdictWaiter
from app.worker import Drain, running_worker

DESCRIPTION = """\
Heliograph: one GraphQL API, and one DreamFactory-compatible REST route, in front of the SMTP servers you have.

  heliograph serve            start here: makes a SQLite database, an admin key and a sandbox service
  heliograph send --to you@example.com --subject Hello --text "It works."

Every setting is an environment variable HELIOGRAPH_*, also read from the file .env; see docs/operations.md.
"""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 2048  # connections that may wait while the application starts, or is busy


class Stop(Exception):
    """Ends the command with this message and exit status 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 1 for a refusal or a failure, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        configure_logging(settings)
        status: int = options.verb(settings, options)
    except (Stop, SettingsError, DatabaseUrlError) as error:
        print(f"heliograph: {error}", file=sys.stderr)
        return 1
    except Refusal as refusal:
        for problem in refusal.problems:
            field = f"{'.'.join(problem.field)}: " if problem.field else ""
            print(f"heliograph: {field}{problem.message}", file=sys.stderr)
        return 1
    except Exception as error:
        if not is_transient(error):
            raise
        print(f"heliograph: the database is not available ({type(error).__name__})", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heliograph", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, run: Callable[[Settings, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=run)
        return added

    serve = verb("serve", _serve, "Serve the API, and deliver mail in the same process.")
    serve.add_argument("--host", help="address to listen on (HELIOGRAPH_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on (HELIOGRAPH_PORT)")
    serve.add_argument("--no-worker", action="store_true", help="only serve; `heliograph worker` delivers")
    verb("worker", _worker, "Deliver mail, without serving the API.")
    verb("migrate", _migrate, "Bring the database's schema up to date. `serve` does this itself on SQLite.")
    verb("schema", _schema, "Print the GraphQL schema.")
    _add_key_verbs(verb("key", _no_key_verb, "Create, list and revoke API keys."))
    _add_send_options(verb("send", _send, "Send one mail, with the rights of an API key."))
    return parser


def _add_key_verbs(key: argparse.ArgumentParser) -> None:
    verbs = key.add_subparsers(title="verbs", required=True, metavar="VERB")
    create = verbs.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--role", default="admin", help="name of the role it belongs to (default: admin)")
    create.add_argument("--name", required=True, help="a name for people, e.g. 'web shop'")
    create.set_defaults(verb=_key_create)
    listed = verbs.add_parser("list", help="list all keys, by their first characters")
    listed.set_defaults(verb=_key_list)
    revoke = verbs.add_parser("revoke", help="revoke a key: from now on it opens nothing")
    revoke.add_argument("id", help="its id, as `key list` shows it")
    revoke.set_defaults(verb=_key_revoke)


def _add_send_options(send: argparse.ArgumentParser) -> None:
    send.add_argument("--service", default="email", help="service to send with (default: email)")
    send.add_argument("--to", action="append", required=True, help="recipient: 'a@x' or 'Name <a@x>'; may be repeated")
    send.add_argument("--cc", action="append", default=[], help="like --to")
    send.add_argument("--bcc", action="append", default=[], help="like --to")
    send.add_argument("--from", dest="sender", help="sender; the service's default when absent")
    send.add_argument("--subject", help="the subject")
    send.add_argument("--text", help="the text; read from standard input when neither --text nor --html is given")
    send.add_argument("--html", help="the html part")
    send.add_argument("--attach", action="append", default=[], type=Path, help="a file; may be repeated")
    send.add_argument("--wait", type=float, default=30, help="seconds to wait for the verdict (default: 30)")
    send.epilog = (
        "The API key is read from HELIOGRAPH_API_KEY, else HELIOGRAPH_ADMIN_API_KEY. A running `serve` or `worker`"
        " delivers. The exit status is 1 when the mail is refused, or a recipient is by then."
    )


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    changes = {"host": options.host, "port": options.port}
    settings = settings.model_copy(update={name: value for name, value in changes.items() if value is not None})
    sockets = _listen(settings.host, settings.port)  # before a key is made that only a start that succeeds can show
    made = asyncio.run(_prepare(settings))
    print(_greeting(settings, sockets[0].getsockname()[1], made), flush=True)
    app = make_app(settings, with_worker=not options.no_worker)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        ws_max_size=settings.max_body_bytes,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout),
    )
    for number in _STOP_SIGNALS:
        # uvicorn, once it has stopped gently, sends itself the signal it stopped for: by then that is a success.
        signal.signal(number, _succeed)
    _Server(config, app.state.begin_stop, settings.stop_timeout).run(sockets)
    return 0


class _Server(uvicorn.Server):
    """Has requests that wait for a verdict answered before it waits for their answers; is asked to stop only once."""

    def __init__(self, config: uvicorn.Config, begin_stop: Callable[[], None], stop_timeout: float) -> None:
        super().__init__(config)
        self._begin_stop = begin_stop
        self._stop_timeout = stop_timeout

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        _end_by_force(self._stop_timeout)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._begin_stop()
        await super().shutdown(sockets)


def _end_by_force(seconds: float) -> None:
    """From now on a signal to stop ends the process like a crash, and so do `seconds`, whatever hangs then."""
    for number in _STOP_SIGNALS:
        signal.signal(number, _default_action())
    faulthandler.dump_traceback_later(seconds, exit=True)


def _default_action() -> Callable[[int, FrameType | None], None] | signal.Handlers:
    """The system's own needs nothing of this process; but the first process of a container never gets it."""
    return _crash if os.getpid() == 1 else signal.SIG_DFL


def _crash(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _succeed(number: int, frame: FrameType | None) -> NoReturn:
    for other in _STOP_SIGNALS:
        signal.signal(other, _default_action())
    sys.exit(0)


def _listen(host: str, port: int) -> list[socket.socket]:
    """A socket on each address of the host; for port 0 the first one's free port. Raises Stop."""
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            taken = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((address[0], taken), family=family, backlog=_BACKLOG))
    except OSError as error:
        for listening in sockets:
            listening.close()
        reason = str(error.strerror).partition(" (")[0]
        raise Stop(f"cannot listen on {host}:{port}: {reason}") from None
    return sockets


async def _prepare(settings: Settings) -> FirstStart | None:
    if is_sqlite(settings.database_url):
        await migrate(settings)
    await open_database(settings)
    try:
        await _refuse_pending()
        return await first_start(settings, sealer_from(settings))
    except InvalidInput as refusal:
        raise SettingsError(f"HELIOGRAPH_ADMIN_API_KEY: {refusal}") from None
    finally:
        await close_database()


async def _refuse_pending() -> None:
    if pending := await pending_migrations():
        raise Stop(f"the database lacks {len(pending)} migrations; run `heliograph migrate` first")


def _greeting(settings: Settings, port: int, made: FirstStart | None) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = settings.public_url or f"http://{host}:{port}"
    lines = [f"Heliograph serves {url}", f"  GraphiQL  {url}/graphql", f"  inbox     {url}/inbox"]
    if made is None and settings.admin_api_key is None:
        lines.append("  lost key  heliograph key create --name NAME")
    elif made and made.admin_key:
        body = '{"to": "you@example.com", "subject": "Hello", "body_text": "It works."}'
        lines += [
            "",
            f"Your admin API key, shown this once:  {made.admin_key}",
            "",
            "Send a first mail; it lands in the inbox, not on the internet:",
            "",
            f"  curl {url}/api/v2/{made.service_name} -H 'X-API-Key: {made.admin_key}' \\",
            f"    -H 'Content-Type: application/json' -d '{body}'",
            "",
        ]
    return "\n".join(lines)


def _worker(settings: Settings, options: argparse.Namespace) -> int:
    async def work() -> int:
        drain, loop = Drain(settings.drain_timeout), asyncio.get_running_loop()

        def begin_stop(number: int, frame: FrameType | None) -> None:
            _end_by_force(settings.stop_timeout)
            loop.call_soon_threadsafe(drain.begin)

        for number in _STOP_SIGNALS:
            signal.signal(number, begin_stop)
        wakeup = Wakeup()
        engine = choose_engine(settings, wakeup)
        async with running_worker(settings, sealer_from(settings), engine, wakeup, drain):
            print("Heliograph delivers mail", flush=True)
            await drain.begun.wait()
        return 0

    return _with_database(settings, work())


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    applied = asyncio.run(migrate(settings))
    print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")
    return 0


def _schema(settings: Settings, options: argparse.Namespace) -> int:
    print(make_schema().as_str())
    return 0


def _no_key_verb(settings: Settings, options: argparse.Namespace) -> int:
    raise Stop("say `key create`, `key list` or `key revoke`")


def _key_create(settings: Settings, options: argparse.Namespace) -> int:
    async def create() -> int:
        role = await find_role(options.role)
        if role is None:
            raise Stop(f"there is no role named {options.role!r}")
        row, key = await create_api_key(role.id, options.name, None, None)
        print(f"{key}\n\nThis is the only time the key is shown. Its id is {public_id('key', row.id)}.")
        return 0

    return _with_database(settings, create())


def _key_list(settings: Settings, options: argparse.Namespace) -> int:
    async def show() -> int:
        after = None
        while rows := await list_api_keys(after, 100):
            for row in rows:
                state = "revoked" if row.revoked_at else "active"
                print(f"{public_id('key', row.id)}  {row.prefix}…  {state:8} {row.role.name}  {row.name}")
            after = rows[-1].id
        return 0

    return _with_database(settings, show())


def _key_revoke(settings: Settings, options: argparse.Namespace) -> int:
    async def revoke() -> int:
        kind, key = parse_public_id(options.id) or (None, None)
        if key is None or kind != "key":
            raise Stop("that is not the id of an API key; `heliograph key list` shows them")
        row = await revoke_api_key(key, None)
        print(f"revoked {row.name}")
        return 0

    return _with_database(settings, revoke())


def _send(settings: Settings, options: argparse.Namespace) -> int:
    given = settings.api_key or settings.admin_api_key
    if given is None:
        raise Stop("set HELIOGRAPH_API_KEY to the API key to send with")
    key = given.get_secret_value()

    async def send() -> int:
        principal = await authenticate(key, record_use_every=settings.api_key_use_interval)
        wakeup = Wakeup()
        submitter = Submitter(settings, choose_engine(settings, wakeup), wakeup)
        receipt = await submitter.submit(Submission(options.service, _draft(options), principal))
        await VerdictWaiter(wakeup, settings.wait_poll).wait(receipt.message_id, options.wait)
        print(public_id("msg", receipt.message_id))
        recipients = (await list_recipients([receipt.message_id]))[receipt.message_id]
        for recipient in recipients:
            said = recipient.detail or recipient.reply or ""
            print(f"  {recipient.email}: {recipient.state.value} {said}".rstrip())
        if await last_beat() is None:
            print("No worker is running: `heliograph serve` or `heliograph worker` delivers it.")
        return int(any(recipient.state is RecipientState.FAILED for recipient in recipients))

    return _with_database(settings, send())


def _draft(options: argparse.Namespace) -> Draft:
    text = options.text
    if text is None and options.html is None:
        text = sys.stdin.read()
    senders = () if options.sender is None else _mailboxes([options.sender])
    if options.sender is not None and len(senders) != 1:
        raise Stop("--from takes one mailbox")
    sender = senders[0] if senders else None
    try:
        attachments = tuple(Attachment(path.name, path.read_bytes()) for path in options.attach)
    except OSError as error:
        raise Stop(f"{error.filename}: {error.strerror}") from None
    return Draft(
        to=_mailboxes(options.to),
        cc=_mailboxes(options.cc),
        bcc=_mailboxes(options.bcc),
        subject=options.subject,
        text=text,
        html=options.html,
        from_email=sender.email if sender else None,
        from_name=sender.name or "" if sender else None,
        attachments=attachments,
    )


def _mailboxes(given: Sequence[str]) -> tuple[Mailbox, ...]:
    """Each by itself, so that an unclosed quote in one does not swallow the next."""
    return tuple(mailbox for text in given for mailbox in parse_mailboxes(text))


def _with_database(settings: Settings, work: Coroutine[Any, Any, int]) -> int:
    async def run() -> int:
        try:
            if is_sqlite(settings.database_url) and not sqlite_file_exists(settings.database_url):
                raise Stop("there is no database yet; `heliograph serve` makes one")
            await open_database(settings)
            await _refuse_pending()
            return await work
        finally:
            work.close()
            await close_database()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
