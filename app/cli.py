"""The operator's verbs."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from app.access.authenticate import authenticate
from app.database.configuration import DatabaseUrlError
from app.database.connection import is_transient
from app.database.key import public_id
from app.database.migrate import NotMigrated, migrate
from app.diagnose_verb import add_diagnose_options, diagnose_service
from app.errors import CommandFailed, Refusal
from app.garbage import spare_the_collector
from app.key_verbs import Verb, Work, add_key_verbs
from app.log import configure_logging
from app.mail.address import Mailbox, parse_mailboxes
from app.mail.draft import Attachment, Draft
from app.queue.choose import choose_engine
from app.queue.forgive import forgive_outage
from app.queue.heartbeat import last_beat
from app.queue.lookup import list_recipients
from app.queue.states import RecipientState
from app.queue.wakeup import Wakeup
from app.service_verbs import add_service_verbs
from app.services.environment import define_service
from app.services.sealed import checked_sealer, forget_secret, reseal_secrets
from app.services.secret import sealer_from
from app.settings import Settings, SettingsError, read_settings
from app.signals import STOP_SIGNALS, end_by_force
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from app.submission.verdict import VerdictWaiter
from app.verb import with_database
from app.worker import Drain, running_worker

DESCRIPTION = """\
Heliograph: one GraphQL API, and one DreamFactory-compatible REST route, in front of the SMTP servers you have.

  heliograph serve            start here: makes a SQLite database, an admin key and a sandbox service
  heliograph send --to you@example.com --subject Hello --text "It works."

Every setting is an environment variable HELIOGRAPH_* or MAIL_*, also read from the file .env; see docs/operations.md.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 1 for a refusal or a failure, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        configure_logging(settings)
        status: int = options.verb(settings, options)
    except (CommandFailed, NotMigrated, SettingsError, DatabaseUrlError) as error:
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

    def verb(name: str, run: Verb, text: str) -> argparse.ArgumentParser:
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
    add_key_verbs(verb("key", _no_key_verb, "Create, list, rotate and revoke API keys."), _on_database)
    add_service_verbs(verb("service", _no_service_verb, "Add and list services, and the providers with a preset."))
    _add_secrets_verbs(verb("secrets", _no_secrets_verb, "Change the key that seals stored passwords."))
    _add_send_options(verb("send", _send, "Send one mail, with the rights of an API key."))
    diagnose = _on_database(diagnose_service)
    add_diagnose_options(verb("diagnose", diagnose, "Find out what keeps a service's mail from leaving."))
    return parser


def _add_secrets_verbs(secrets: argparse.ArgumentParser) -> None:
    verbs = secrets.add_subparsers(title="verbs", required=True, metavar="VERB")
    rotate = verbs.add_parser("rotate", help="seal every stored secret under the first key; while servers run")
    rotate.set_defaults(verb=_secrets_rotate)
    forget = verbs.add_parser("forget", help="give up a password, or a DKIM key, whose key is lost")
    forget.add_argument("name", help="the service's name, or selector._domainkey.domain")
    forget.set_defaults(verb=_secrets_forget)


def _add_send_options(send: argparse.ArgumentParser) -> None:
    send.add_argument("--service", default="email", help="service to send with (default: email)")
    send.add_argument("--to", action="append", required=True, help="recipient: 'a@x' or 'Name <a@x>'; may be repeated")
    send.add_argument("--cc", action="append", default=[], help="like --to")
    send.add_argument("--bcc", action="append", default=[], help="like --to")
    send.add_argument("--from", dest="sender", help="sender; when absent the service's default, else MAIL_FROM_ADDRESS")
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
    from app.serve import serve  # here: no other verb has to wait for GraphQL and HTTP to be loaded

    changes = {"host": options.host, "port": options.port}
    given = {name: value for name, value in changes.items() if value is not None}
    serve(settings.model_copy(update=given), with_worker=not options.no_worker)
    return 0


def _worker(settings: Settings, options: argparse.Namespace) -> int:
    sys.setswitchinterval(settings.thread_switch_interval)

    async def work() -> int:
        drain, loop = Drain(settings.drain_timeout), asyncio.get_running_loop()

        def begin_stop(number: int, frame: FrameType | None) -> None:
            end_by_force(settings.stop_timeout)
            loop.call_soon_threadsafe(drain.begin)

        for number in STOP_SIGNALS:
            signal.signal(number, begin_stop)
        wakeup = Wakeup()
        engine = choose_engine(settings, wakeup)
        sealer = await checked_sealer(settings)
        await define_service(settings, sealer, forgive=forgive_outage)
        async with running_worker(settings, sealer, engine, wakeup, drain):
            spare_the_collector()
            print("Heliograph delivers mail", flush=True)
            await drain.begun.wait()
        return 0

    return with_database(settings, work())


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    applied = asyncio.run(migrate(settings))
    print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")
    return 0


def _schema(settings: Settings, options: argparse.Namespace) -> int:
    from app.graphql.schema import make_schema

    print(make_schema().as_str())
    return 0


def _no_key_verb(settings: Settings, options: argparse.Namespace) -> int:
    raise CommandFailed("say `key create`, `key list`, `key rotate` or `key revoke`")


def _no_service_verb(settings: Settings, options: argparse.Namespace) -> int:
    raise CommandFailed("say `service add`, `service list` or `service providers`")


def _no_secrets_verb(settings: Settings, options: argparse.Namespace) -> int:
    raise CommandFailed("say `secrets rotate` or `secrets forget`")


def _secrets_rotate(settings: Settings, options: argparse.Namespace) -> int:
    async def rotate() -> int:
        done = await reseal_secrets(sealer_from(settings, make_file=False))
        print(f"resealed {done.resealed}, under the first key already {done.current}")
        for secret, reason in done.unopened:
            print(f"heliograph: the {secret.place.secret} of {secret.name} stays as it is. {reason}", file=sys.stderr)
        return int(bool(done.unopened))

    return with_database(settings, rotate())


def _secrets_forget(settings: Settings, options: argparse.Namespace) -> int:
    async def forget() -> int:
        print(await forget_secret(options.name, sealer_from(settings)))
        return 0

    return with_database(settings, forget())


def _send(settings: Settings, options: argparse.Namespace) -> int:
    given = settings.api_key or settings.admin_api_key
    if given is None:
        raise CommandFailed("set HELIOGRAPH_API_KEY to the API key to send with")
    key = given.get_secret_value()

    async def send() -> int:
        every = settings.api_key_use_interval
        principal = await authenticate(key, at_the_machine=True, record_use_every=every)
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

    return with_database(settings, send())


def _draft(options: argparse.Namespace) -> Draft:
    text = options.text
    if text is None and options.html is None:
        text = sys.stdin.read()
    senders = () if options.sender is None else _mailboxes([options.sender])
    if options.sender is not None and len(senders) != 1:
        raise CommandFailed("--from takes one mailbox")
    sender = senders[0] if senders else None
    try:
        attachments = tuple(Attachment(path.name, path.read_bytes()) for path in options.attach)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from None
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


def _on_database(work: Work) -> Verb:
    return lambda settings, options: with_database(settings, work(settings, options))


if __name__ == "__main__":
    sys.exit(main())
