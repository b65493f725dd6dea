"""Each ill server gets its code and its sentence, a healthy one passes every stage, and no credential shows."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trustme

from app.inbox.receiver import Answer, Receiver, Script
from app.inbox.receiver import Stage as Scripted
from app.mail.reply import Reply
from app.outbound.guard import Guard
from app.outbound.resolve import Resolve, resolve_host
from app.smtp.diagnosis.advice import ADVICE, Facts, advise
from app.smtp.diagnosis.echo import without_echo
from app.smtp.diagnosis.encrypt import encrypt
from app.smtp.diagnosis.login import Held
from app.smtp.diagnosis.report import DiagnosisCode as Code
from app.smtp.diagnosis.report import Stage, StageName, StageStatus, first_advice, is_ok
from app.smtp.diagnosis.session import Session
from app.smtp.diagnosis.verdict import code_of, code_of_certificate, code_of_reply
from app.smtp.diagnosis.walk import Plan, diagnose
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure, failure_from
from app.smtp.server import AccessToken, Credentials, Encryption, Server, TokenCredentials
from tests.outbound.conftest import Names
from tests.smtp.ill_servers import ILL_SERVERS, KNOWN, ME, IllServer

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
MakeServer = Callable[..., Server]

PLAN = Plan(total=10, stage=0.25, sender="me@x.example")
ELSEWHERE = "192.0.2.1"
DOCS = Path(__file__).parents[2] / "docs" / "diagnose.md"


async def stages_of(server: Server, plan: Plan = PLAN, resolve: Resolve = resolve_host) -> list[Stage]:
    return [stage async for stage in diagnose(server, plan, resolve)]


def found(stages: Sequence[Stage], name: StageName) -> Stage:
    (stage,) = [stage for stage in stages if stage.name is name]
    return stage


@pytest.mark.parametrize("name", ILL_SERVERS)
async def test_an_ill_server_gets_its_code_and_its_sentence(
    name: str,
    server_for: MakeServer,
    certificate: ssl.SSLContext,
    bad_certificates: dict[str, ssl.SSLContext],
) -> None:
    ill = ILL_SERVERS[name]
    certificates = {**bad_certificates, "good": certificate}
    tls = certificates[ill.certificate] if ill.certificate else None
    options = {"implicit_tls": ill.encryption is Encryption.SSL, **ill.options}
    async with Receiver(keep=True, tls=tls, script=script_of(ill), **options) as receiver:
        server = server_for(receiver, ill.encryption, credentials=ill.credentials)
        stages = await stages_of(server, replace(PLAN, recipient=ill.recipient))
    stage = found(stages, ill.stage)
    assert (stage.status, stage.code) == (ill.status, ill.code), stages
    assert ill.advice in (stage.advice or "")
    assert ill.evidence in stage.evidence
    assert is_ok(stages) is (ill.status is StageStatus.WARNING)
    assert first_advice(stages) == stage.advice
    assert {one.code for one in behind(stages, stage)} <= {Code.NOT_REACHED} or is_ok(stages)
    assert {one.name for one in stages} == set(StageName)
    assert receiver.mails == []
    assert sum(verbs.verbs.count("AUTH") for verbs in receiver.sessions) <= 1
    assert_no_credential(stages)


def script_of(ill: IllServer) -> Script:
    script = Script()
    for stage, action in ill.script.items():
        script.on(stage, action)
    return script


def behind(stages: Sequence[Stage], stage: Stage) -> Sequence[Stage]:
    return stages[stages.index(stage) + 1 :]


def assert_no_credential(stages: Sequence[Stage]) -> None:
    told = repr(stages)
    for secret in (ME.password, ME.username):
        for form in (secret, *(b64encode(part.encode()).decode().rstrip("=") for part in (secret, f"\0{secret}"))):
            assert form not in told


@pytest.mark.parametrize("encryption", list(Encryption))
async def test_a_healthy_server_passes_every_stage(
    encryption: Encryption, server_for: MakeServer, certificate: ssl.SSLContext, eventually: Eventually
) -> None:
    tls, implicit = None if encryption is Encryption.NONE else certificate, encryption is Encryption.SSL
    async with Receiver(keep=True, tls=tls, implicit_tls=implicit, credentials=KNOWN) as receiver:
        server = server_for(receiver, encryption, host="localhost", credentials=ME)
        plan = replace(PLAN, stage=5, recipient="bob@x.example")
        stages = await stages_of(server, plan, Names(localhost=[["127.0.0.1"]]))
        (session,) = receiver.sessions
        await eventually(lambda: session.verbs[-4:] == ["MAIL", "RCPT", "RSET", "QUIT"])
        assert receiver.mails == []
    unasked = {StageName.TLS, StageName.CERTIFICATE} if encryption is Encryption.NONE else set()
    assert {stage.name for stage in stages if stage.status is not StageStatus.OK} == unasked
    assert (is_ok(stages), first_advice(stages)) == (True, None)
    order = [stage.name.value for stage in stages]
    assert (order.index("TLS") < order.index("GREETING")) is implicit
    assert found(stages, StageName.DNS).evidence == "A 127.0.0.1"
    assert found(stages, StageName.EXTENSIONS).evidence.startswith("Offered: SIZE 67108864, PIPELINING")
    if encryption is not Encryption.NONE:
        assert "for localhost, 127.0.0.1; issued by" in found(stages, StageName.CERTIFICATE).evidence


async def test_clear_text_to_another_machine_is_a_warning_and_no_auth(
    server_for: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Session(server_for(25), resolve_host)
    elsewhere.address = ip_address(ELSEWHERE)
    tls, _ = await encrypt(elsewhere, 14)
    assert (tls.status, tls.code) == (StageStatus.WARNING, Code.NOT_ENCRYPTED)
    monkeypatch.setattr("app.smtp.diagnosis.login.may_send_in_clear", lambda *_: False)
    async with Receiver(keep=True, credentials=KNOWN) as receiver:
        stages = await stages_of(server_for(receiver, credentials=ME))
    assert found(stages, StageName.MECHANISMS).code is Code.CLEAR_TEXT_AUTH
    assert "AUTH" not in receiver.sessions[0].verbs


async def test_a_certificate_that_ends_soon_is_a_warning(ca: trustme.CA, server_for: MakeServer) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ends = datetime.now(UTC) + timedelta(days=3, hours=1)
    ca.issue_cert("127.0.0.1", not_after=ends).configure_cert(context)
    async with Receiver(tls=context) as receiver:
        stages = await stages_of(server_for(receiver, Encryption.TLS), replace(PLAN, stage=5))
    stage = found(stages, StageName.CERTIFICATE)
    assert (stage.status, stage.code) == (StageStatus.WARNING, Code.CERTIFICATE_EXPIRES_SOON)
    assert "ends in 3 days" in (stage.advice or "")
    assert is_ok(stages)


async def test_nothing_listens(server_for: MakeServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # else somebody else might come to listen there
        port = unused.getsockname()[1]
        stages = await stages_of(server_for(port))
    assert (stages[1].code, stages[1].evidence) == (Code.CONNECTION_REFUSED, f"127.0.0.1:{port}: connection refused.")
    assert f"port {port}" in (stages[1].advice or "")


async def test_a_black_hole_before_a_good_address_fails_and_one_behind_it_is_passed_over(
    server_for: MakeServer,
) -> None:
    with ExitStack() as stack:
        async with Receiver(host="127.0.0.1", keep=True) as receiver:
            port = receiver.port
            fill_up(stack, "127.0.0.2", port)
            first = await stages_of(server_for(port, host="h"), PLAN, Names(h=[["127.0.0.2", "127.0.0.1"]]))
            last = await stages_of(server_for(port, host="h"), PLAN, Names(h=[["127.0.0.1", "127.0.0.2"]]))
        alone = await stages_of(server_for(port, host="h"), PLAN, Names(h=[["127.0.0.2"]]))
    assert [(one.status.value, one.code.value) for one in first[1:3]] == [("FAILED", "CONNECT_TIMEOUT"), ("OK", "OK")]
    assert [(one.status.value, one.code.value) for one in last[1:3]] == [("OK", "OK"), ("WARNING", "CONNECT_TIMEOUT")]
    assert (is_ok(first), is_ok(last)) == (False, True)
    assert found(first, StageName.GREETING).status is StageStatus.OK
    assert (alone[1].code, alone[2].code) == (Code.CONNECT_TIMEOUT, Code.NOT_REACHED)
    assert "a firewall is in the way" in (alone[1].advice or "")


def fill_up(stack: ExitStack, host: str, port: int) -> None:
    """Fill the backlog there: who knocks gets no answer."""
    stack.enter_context(socket.create_server((host, port), backlog=0))
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex((host, port))


@pytest.mark.parametrize(
    ("answers", "guard", "port", "name", "code", "evidence"),
    [
        ([], Guard(), 25, StageName.DNS, Code.HOST_NOT_FOUND, "Host not found: h."),
        (["10.9.8.7"], Guard(), 25, StageName.TCP, Code.ADDRESS_FORBIDDEN, "None of its addresses"),
        ([ELSEWHERE], Guard((ip_network("192.0.2.0/24"),), ports=(25,)), 22, StageName.TCP, Code.PORT_FORBIDDEN, "22"),
    ],
)
async def test_nothing_is_connected_to_that_delivery_would_not(
    answers: list[str], guard: Guard, port: int, name: StageName, code: Code, evidence: str, server_for: MakeServer
) -> None:
    server = replace(server_for(port, host="h"), guard=guard)
    stages = await stages_of(server, PLAN, Names(h=[answers]))
    stage = found(stages, name)
    assert (stage.status, stage.code) == (StageStatus.FAILED, code)
    assert evidence in stage.evidence
    assert "10.9.8.7" not in repr(stages)


async def test_a_resolver_that_does_not_answer(server_for: MakeServer) -> None:
    async def silent(_: str) -> Sequence[object]:
        await asyncio.Event().wait()
        return ()

    stages = await stages_of(server_for(25), PLAN, silent)  # type: ignore[arg-type]
    assert stages[0].code is Code.DNS_TIMEOUT


async def test_the_whole_of_it_has_a_time_limit(server_for: MakeServer) -> None:
    async with Receiver(script=script_of(ILL_SERVERS["EHLO: silence"])) as receiver:
        stages = await stages_of(server_for(receiver), Plan(total=0.2, stage=20))
    assert found(stages, StageName.EHLO).code is Code.DIAGNOSIS_TIMEOUT
    assert "limit of 0.2 seconds" in (first_advice(stages) or "")


async def test_auth_that_is_not_permitted_is_not_tried_and_told_from_the_last_reply(server_for: MakeServer) -> None:
    until = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

    def held(reply: Reply | None) -> Plan:
        async def permit() -> Held | None:
            return Held(until, reply)

        return replace(PLAN, stage=5, permit_auth=permit)

    async with Receiver(keep=True, credentials=KNOWN) as receiver:
        server = server_for(receiver, credentials=ME)
        known = found(await stages_of(server, held(Reply(535, "no", "5.7.8"))), StageName.AUTH)
        unknown = found(await stages_of(server, held(None)), StageName.AUTH)
        assert all("AUTH" not in session.verbs for session in receiver.sessions)
    assert (known.status, known.code) == (StageStatus.FAILED, Code.BAD_CREDENTIALS)
    assert known.evidence == "535 5.7.8 no (said to the last AUTH; it is not tried again before 12:00:00 UTC)"
    assert (unknown.status, unknown.code) == (StageStatus.SKIPPED, Code.AUTH_TOO_SOON)


@pytest.mark.parametrize("is_fresh", [True, False])
async def test_an_access_token_is_refused_as_a_token_and_shows_nowhere(is_fresh: bool, server_for: MakeServer) -> None:
    token = "canary-token-0123456789"
    sent = b64encode(f"user={ME.username}\1auth=Bearer {token}\1\1".encode()).decode()

    async def obtain(_: str | None) -> AccessToken:
        return AccessToken(token, is_fresh)

    script = Script().on(Scripted.AUTH, f"535 5.7.8 {sent[:30]} {token}")
    async with Receiver(keep=True, credentials=KNOWN, mechanisms=("XOAUTH2",), script=script) as receiver:
        server = replace(server_for(receiver, host="smtp.gmail.com"), credentials=TokenCredentials(ME.username, obtain))
        stages = await stages_of(server, replace(PLAN, stage=5), Names(**{"smtp.gmail.com": [["127.0.0.1"]]}))
    stage = found(stages, StageName.AUTH)
    assert stage.code is Code.TOKEN_REFUSED
    assert ("with a fresh one" in stage.evidence) is not is_fresh
    assert token not in repr(stages)
    assert sent[:30] not in repr(stages)


async def test_where_no_access_token_can_be_had_no_auth_is_tried(server_for: MakeServer) -> None:
    async def obtain(_: str | None) -> AccessToken:
        message = "Authentication failed: login.example gave no access token (invalid_client)."
        raise SmtpFailure(Failure(Phase.AUTH, Cause.AUTHENTICATION, message))

    async with Receiver(keep=True, credentials=KNOWN, mechanisms=("XOAUTH2",)) as receiver:
        server = replace(server_for(receiver), credentials=TokenCredentials(ME.username, obtain))
        stage = found(await stages_of(server, replace(PLAN, stage=5)), StageName.AUTH)
        assert "AUTH" not in receiver.sessions[0].verbs
    assert (stage.code, stage.status) == (Code.NO_ACCESS_TOKEN, StageStatus.FAILED)
    assert "invalid_client" in stage.evidence


async def test_who_stops_listening_leaves_nothing_open(server_for: MakeServer, eventually: Eventually) -> None:
    async with Receiver(keep=True) as receiver:
        stages = diagnose(server_for(receiver), replace(PLAN, stage=5))
        async for stage in stages:
            if stage.name is StageName.EHLO:
                break
        await stages.aclose()
        await eventually(lambda: receiver.sessions[0].verbs[-1:] == ["QUIT"])


@pytest.mark.parametrize("cut", [0, 3, 9])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_server_that_repeats_what_it_was_sent_shows_nothing_of_it(
    cut: int, mechanism: str, server_for: MakeServer
) -> None:
    plain = b64encode(f"\0{ME.username}\0{ME.password}".encode()).decode()
    login = b64encode(ME.password.encode()).decode()
    sent = [secret[: len(secret) - cut] for secret in (plain, login, ME.password)]
    echo = f"535 5.7.8 {ME.username}: AUTH PLAIN {sent[0]}\n535 5.7.8 {sent[1]} <{sent[2]}> no"
    script = Script().on(Scripted.AUTH, Answer(echo))
    async with Receiver(credentials=KNOWN, mechanisms=(mechanism,), script=script) as receiver:
        stage = found(await stages_of(server_for(receiver, credentials=ME)), StageName.AUTH)
    assert stage.code is Code.BAD_CREDENTIALS
    told = stage.evidence.replace("<…>", "…").split()
    assert told == ["535", "5.7.8", "…:", "AUTH", "PLAIN", "…", "…", "…", "no"]


def test_words_that_have_nothing_to_do_with_a_secret_stay() -> None:
    told = "535 5.7.8 Username and Password not accepted, see https://support.example/mail?p=BadCredentials"
    assert without_echo(told, ME) == told
    assert without_echo(told, None) == told
    assert without_echo("(pa55) said pa55x, and cat", Credentials("me", "pa55")) == "… said …, and cat".replace(",", "")
    assert without_echo("cat ca at [at]", Credentials("me", "at")) == "cat ca … …"


GMAIL, YAHOO, SES, OFFICE = "smtp.gmail.com", "smtp.mail.yahoo.com", "email-smtp.eu.amazonaws.com", "smtp.office365.com"


@pytest.mark.parametrize(
    ("host", "code", "enhanced", "text", "phase", "expected"),
    [
        (GMAIL, 535, "5.7.8", "Username and Password not accepted.", Phase.AUTH, Code.APP_PASSWORD_NEEDED),
        (GMAIL, 534, "5.7.9", "Please log in with your web browser", Phase.AUTH, Code.APP_PASSWORD_NEEDED),
        (YAHOO, 535, "5.7.0", "(#AUTH005) Too many bad auth attempts.", Phase.AUTH, Code.APP_PASSWORD_NEEDED),
        ("smtp.mail.me.com", 535, "5.7.8", "authentication failed", Phase.AUTH, Code.APP_PASSWORD_NEEDED),
        ("notgmail.com", 535, "5.7.8", "no", Phase.AUTH, Code.BAD_CREDENTIALS),
        (SES, 535, None, "Authentication Credentials Invalid", Phase.AUTH, Code.SMTP_CREDENTIALS_NEEDED),
        (OFFICE, 550, "5.7.30", "Basic authentication is not supported", Phase.AUTH, Code.BASIC_AUTH_DISABLED),
        (OFFICE, 535, "5.7.139", "the user credentials were incorrect.", Phase.AUTH, Code.BAD_CREDENTIALS),
        (OFFICE, 535, "5.7.139", "SmtpClientAuthentication is disabled", Phase.AUTH, Code.SMTP_AUTH_DISABLED),
        (OFFICE, 535, "5.7.3", "Authentication unsuccessful", Phase.AUTH, Code.BAD_CREDENTIALS),
        ("x", 538, "5.7.11", "Encryption required", Phase.AUTH, Code.ENCRYPTION_REQUIRED),
        ("x", 530, "5.7.0", "Must issue a STARTTLS command first", Phase.AUTH, Code.ENCRYPTION_REQUIRED),
        ("x", 504, "5.5.4", "no such mechanism", Phase.AUTH, Code.MECHANISM_REFUSED),
        ("x", 525, "5.7.13", "account disabled", Phase.AUTH, Code.AUTH_REFUSED),
        ("x", 550, None, "Authentication is required for relay", Phase.RCPT, Code.AUTH_REQUIRED),
        ("x", 530, "5.7.0", "Must issue a STARTTLS command first", Phase.MAIL, Code.ENCRYPTION_REQUIRED),
        ("x", 450, "4.2.1", "busy", Phase.MAIL, Code.TRY_LATER),
    ],
)
def test_what_a_provider_means_by_its_reply(
    host: str, code: int, enhanced: str | None, text: str, phase: Phase, expected: Code, server_for: MakeServer
) -> None:
    assert code_of_reply(Reply(code, text, enhanced), phase, server_for(587, host=host)) is expected


def test_what_the_system_says(server_for: MakeServer) -> None:
    server = server_for(587)

    def code(error: Exception, phase: Phase) -> Code:
        return code_of(failure_from(error, phase, server), error, server)

    assert code(OSError(101, "Network is unreachable"), Phase.CONNECT) is Code.UNREACHABLE
    too_old = ssl.SSLError(1, "no")
    too_old.reason = "UNSUPPORTED_PROTOCOL"
    assert code(too_old, Phase.TLS) is Code.TLS_TOO_OLD
    assert code(ssl.SSLError(1, "no"), Phase.TLS) is Code.TLS_FAILED
    assert [code_of_certificate(number) for number in (9, 23)] == [
        Code.CERTIFICATE_NOT_YET_VALID,
        Code.CERTIFICATE_INVALID,
    ]


UNADVISED = {Code.OK, Code.NOT_REACHED, Code.NOT_ASKED, Code.SANDBOX, Code.NO_CREDENTIALS}


def test_every_code_has_its_sentence_and_its_row_in_the_docs() -> None:
    assert ADVICE.keys() == set(Code) - UNADVISED
    for code, sentence in ADVICE.items():
        assert sentence.endswith("."), code
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    facts = Facts(Server("smtp.example.com", 587, Encryption.TLS, "me.example"), total=60, days=3)
    told = {code.strip("`"): advice for code, _, _, advice in rows}
    assert told == {code.value: advise(code, facts) or "nothing" for code in Code}
