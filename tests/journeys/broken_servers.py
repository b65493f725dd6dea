"""SMTP servers with one fault each, and what has to be known of a mail that met it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.inbox.receiver import Action, Answer, Drop, Endless, Hang, Overlook, Raw, Reset, Script, Stage, Wait

ANN, BOB, EVE, JUERGEN = "ann@x.example", "bob@x.example", "eve@x.example", "j\u00fcrgen@x.example"
CREDENTIALS = {"me@x.example": "correct-horse-battery-staple"}
WITH_PASSWORD = {"username": "me@x.example", "password": CREDENTIALS["me@x.example"]}
LARGE = 4 * 1024 * 1024  # more than the kernel and both ends hold unread

Part = Callable[[Script, asyncio.Event], object]


def on(stage: Stage, action: Action | str, **conditions: Any) -> Part:
    """A rule of the script."""
    return lambda script, _: script.on(stage, action, **conditions)


def late(stage: Stage) -> Part:
    """Goes on when the test says so."""
    return lambda script, release: script.on(stage, Wait(release))


@dataclass(frozen=True)
class Told:
    """What is known of one recipient once its first attempt is over. `says`: somewhere in its detail."""

    state: str
    code: int | None = None
    enhanced: str | None = None
    says: str = ""
    phase: str | None = None
    in_doubt: bool = False


SENT = Told("SENT", 250, "2.0.0")
TIMED_OUT = "Connection timed out"
LOST = "Connection lost"


@dataclass(frozen=True)
class BrokenServer:
    """A server to which mail can be said, with one fault.

    `taken`: how many mails it has taken when the first attempts are over. `hidden`: recipients that are in Bcc.
    `mails`: how many it is sent, all at once or (`in_turn`) one after the other. `in_time`: the late answer comes while
    it is still waited for, and once a session too many was turned away.
    """

    parts: tuple[Part, ...]
    told: Told | Mapping[str, Told]
    taken: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    service: Mapping[str, Any] = field(default_factory=dict)
    attachment_bytes: int = 0
    hidden: tuple[str, ...] = ()
    mails: int = 1
    in_turn: bool = False
    in_time: bool = False
    rest: "RestAnswer | None" = None

    @property
    def by_recipient(self) -> Mapping[str, Told]:
        """What is told of each recipient of each mail."""
        return {ANN: self.told} if isinstance(self.told, Told) else self.told


@dataclass(frozen=True)
class RestAnswer:
    """What door two answers: with 200 the message's status and count, else how its error begins."""

    status: int
    says: str
    count: int = 1


@dataclass(frozen=True)
class Unreachable:
    """A server to which no mail can be said at all. `reason`: what is told of it. `encrypted`: it has TLS.
    `listens`: false for one that is not there. `auths`: how often AUTH was tried."""

    parts: tuple[Part, ...]
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    service: Mapping[str, Any] = field(default_factory=dict)
    encrypted: bool = False
    listens: bool = True
    auths: int = 0
    rest: RestAnswer | None = None


QUEUED_BY_REST = RestAnswer(200, "queued")


def _in_phase(stage: Stage) -> dict[str, BrokenServer]:
    name, phase = stage.name, stage.value
    no_pipelining = {"extensions": ("SIZE", "SMTPUTF8")}
    return {
        f"{name}: 421, always": BrokenServer(
            (on(stage, "421 4.3.2 closing"),), Told("DEFERRED", 421, "4.3.2", "421 4.3.2 closing", phase)
        ),
        f"{name}: 421, once": BrokenServer((on(stage, "421 4.3.2 closing", times=1),), SENT, taken=1),
        f"{name}: 4yz": BrokenServer(
            (on(stage, "451 4.7.1 later"),), Told("DEFERRED", 451, "4.7.1"), rest=QUEUED_BY_REST
        ),
        f"{name}: 5yz": BrokenServer(
            (on(stage, "550 5.7.1 never"),), Told("FAILED", 550, "5.7.1"), rest=RestAnswer(500, "550 5.7.1 never")
        ),
        f"{name}: drop": BrokenServer((on(stage, Drop()),), Told("DEFERRED", says=LOST, phase=phase)),
        f"{name}: reset": BrokenServer((on(stage, Reset()),), Told("DEFERRED", says=LOST, phase=phase)),
        f"{name}: hang": BrokenServer(
            (on(stage, Hang()),), Told("DEFERRED", says=TIMED_OUT, phase=phase), options=no_pipelining
        ),
        f"{name}: garbage": BrokenServer(
            (on(stage, Raw(b"who is there?\r\n")),), Told("DEFERRED", says="not SMTP", phase=phase)
        ),
        f"{name}: endless reply": BrokenServer(
            (on(stage, Endless(b"250-and another thing\r\n" * 500)),), Told("DEFERRED", says="not SMTP", phase=phase)
        ),
    }


CONTENT: dict[str, BrokenServer] = {
    "content: drop midway": BrokenServer(
        (on(Stage.CONTENT, Drop()),), Told("DEFERRED", says=LOST, phase="content"), attachment_bytes=LARGE
    ),
    "content: hang midway": BrokenServer(
        (on(Stage.CONTENT, Hang()),), Told("DEFERRED", says=TIMED_OUT, phase="content"), attachment_bytes=LARGE
    ),
    "content: refused midway": BrokenServer(
        (on(Stage.CONTENT, "552 5.3.4 enough"),), Told("FAILED", 552, "5.3.4"), attachment_bytes=LARGE
    ),
    "content: drop once all of it is under way": BrokenServer(
        (on(Stage.CONTENT, Drop()),), Told("DEFERRED", says=LOST, phase="dot", in_doubt=True)
    ),
}

DOT: dict[str, BrokenServer] = {
    "dot: 421": BrokenServer((on(Stage.DOT, "421 4.3.2 closing"),), Told("DEFERRED", 421, "4.3.2", phase="dot")),
    "dot: 4yz": BrokenServer((on(Stage.DOT, "451 4.3.0 later"),), Told("DEFERRED", 451, "4.3.0"), rest=QUEUED_BY_REST),
    "dot: 5yz": BrokenServer((on(Stage.DOT, "554 5.6.0 spam"),), Told("FAILED", 554, "5.6.0")),
    "dot: late, in time": BrokenServer((late(Stage.DOT),), SENT, taken=1, in_time=True),
}
for _stage, _taken in ((Stage.DOT, 0), (Stage.ACCEPTED, 1)):
    _when = "before it is taken" if not _taken else "after it was taken"
    for _name, _part, _says in (
        ("drop", on(_stage, Drop()), LOST),
        ("reset", on(_stage, Reset()), LOST),
        ("hang", on(_stage, Hang()), TIMED_OUT),
        ("garbage", on(_stage, Raw(b"oops\r\n")), "not SMTP"),
    ):
        # Garbage is not a verdict that begins with 2, for which alone the receiver takes the mail.
        DOT[f"dot: {_name}, {_when}"] = BrokenServer(
            (_part,), Told("DEFERRED", says=_says, phase="dot", in_doubt=True), taken=_taken
        )
DOT["dot: late, too late"] = BrokenServer(
    (late(Stage.DOT),), Told("DEFERRED", says=TIMED_OUT, phase="dot", in_doubt=True), taken=1, rest=QUEUED_BY_REST
)

_LIES = "250 receiver.invalid\n250 SIZE 99999999\n250 SMTPUTF8\n250 PIPELINING"

CAPABILITIES: dict[str, BrokenServer] = {
    "EHLO: not known, HELO is": BrokenServer((on(Stage.EHLO, "502 5.5.1 what?"),), SENT, taken=1),
    "no extensions": BrokenServer((), SENT, taken=1, options={"extensions": ()}),
    "SIZE: too small": BrokenServer(
        (on(Stage.EHLO, "250 receiver.invalid\n250 SIZE 100"),),
        Told("FAILED", 552, "5.3.4"),
        rest=RestAnswer(500, "552 5.3.4 The message has "),
    ),
    "SMTPUTF8: not offered": BrokenServer(
        (on(Stage.EHLO, "250 receiver.invalid"),), {JUERGEN: Told("FAILED", 550, "5.6.7")}
    ),
    "SMTPUTF8: not offered, and one of two needs it": BrokenServer(
        (on(Stage.EHLO, "250 receiver.invalid"),),
        {ANN: SENT, JUERGEN: Told("FAILED", 550, "5.6.7")},
        taken=1,
        hidden=(JUERGEN,),
    ),
    "lies: offers parameters that it refuses": BrokenServer(
        (on(Stage.EHLO, _LIES),),
        {ANN: SENT, JUERGEN: Told("FAILED", 550, "5.6.7")},
        taken=1,
        options={"extensions": ()},
        hidden=(JUERGEN,),
    ),
    "lies: takes less than its SIZE": BrokenServer(
        (on(Stage.EHLO, _LIES), on(Stage.DOT, "552 5.3.4 too much")), Told("FAILED", 552, "5.3.4")
    ),
    "lies: overlooks what is pipelined": BrokenServer((on(Stage.MAIL, Overlook()),), SENT, taken=1),
    "lies: answers pipelined commands out of step": BrokenServer(
        (on(Stage.DATA, "503 5.5.1 not now", times=1),), SENT, taken=1
    ),
}

SESSIONS: dict[str, BrokenServer] = {
    "RCPT: one of three for good, one for now": BrokenServer(
        (on(Stage.RCPT, "550 5.1.1 no such user", address=BOB), on(Stage.RCPT, "450 4.2.1 busy", address=EVE)),
        {ANN: SENT, BOB: Told("FAILED", 550, "5.1.1"), EVE: Told("DEFERRED", 450, "4.2.1")},
        taken=1,
        rest=RestAnswer(200, "queued", 2),
    ),
    "QUIT: drop": BrokenServer((on(Stage.QUIT, Drop()),), SENT, taken=5, mails=5, in_turn=True),
    "QUIT: hang": BrokenServer((on(Stage.QUIT, Hang()),), SENT, taken=5, mails=5, in_turn=True),
    "421 after one mail": BrokenServer(
        (on(Stage.MAIL, "421 4.3.2 enough", after=1),), SENT, taken=5, mails=5, in_turn=True
    ),
    "421 right behind the verdict": BrokenServer(
        (on(Stage.ACCEPTED, Raw(b"250 2.0.0 Taken\r\n421 4.3.2 bye\r\n")),), SENT, taken=5, mails=5, in_turn=True
    ),
    "at most two connections, 421": BrokenServer(
        (late(Stage.DOT),), SENT, taken=10, mails=10, in_time=True, options={"max_sessions": 2}
    ),
    "at most two connections, 4yz": BrokenServer(
        (late(Stage.DOT),),
        SENT,
        taken=10,
        mails=10,
        in_time=True,
        options={"max_sessions": 2, "excess": Answer("450 4.3.2 busy", close=True)},
    ),
    "at most one connection, drop": BrokenServer(
        (late(Stage.DOT),), SENT, taken=10, mails=10, in_time=True, options={"max_sessions": 1, "excess": Drop()}
    ),
}

BROKEN_SERVERS: Mapping[str, BrokenServer] = {
    **_in_phase(Stage.MAIL),
    **_in_phase(Stage.RCPT),
    **_in_phase(Stage.DATA),
    **CONTENT,
    **DOT,
    **CAPABILITIES,
    **SESSIONS,
}

_REFUSED = "Connection refused"
_AUTH = "Authentication failed"
_TLS = "Certificate error"
_ENCRYPTED = {"encryption": "TLS"}
_GARBAGE = "answered something that is not SMTP"

UNREACHABLE: Mapping[str, Unreachable] = {
    "connection refused": Unreachable((), _REFUSED, listens=False, rest=RestAnswer(500, "Connection refused")),
    "banner: hang": Unreachable((on(Stage.GREETING, Hang()),), TIMED_OUT),
    "banner: 554": Unreachable(
        (on(Stage.GREETING, "554 5.7.1 go away"),),
        "554 5.7.1 go away",
        rest=RestAnswer(500, "554 5.7.1 go away"),
    ),
    "banner: 421": Unreachable((on(Stage.GREETING, "421 4.3.2 later"),), "421 4.3.2 later", rest=QUEUED_BY_REST),
    "banner: drop": Unreachable((on(Stage.GREETING, Drop()),), _REFUSED),
    "banner: reset": Unreachable((on(Stage.GREETING, Reset()),), _REFUSED),
    "banner: garbage": Unreachable((on(Stage.GREETING, Raw(b"HTTP/1.1 400\r\n\r\n")),), _GARBAGE),
    "banner: endless": Unreachable((on(Stage.GREETING, Endless(b"220-and\r\n" * 500)),), _GARBAGE),
    "banner: endless and slow": Unreachable((on(Stage.GREETING, Endless(b"220-and\r\n", every=0.05)),), TIMED_OUT),
    "EHLO: refused": Unreachable((on(Stage.EHLO, "550 5.7.1 not you"),), "550 5.7.1 not you"),
    "EHLO: 421": Unreachable((on(Stage.EHLO, "421 4.3.2 later"),), "421 4.3.2 later"),
    "EHLO: drop": Unreachable((on(Stage.EHLO, Drop()),), _REFUSED),
    "EHLO: hang": Unreachable((on(Stage.EHLO, Hang()),), TIMED_OUT),
    "STARTTLS: not offered": Unreachable((), _TLS, service=_ENCRYPTED),
    "STARTTLS: refused": Unreachable(
        (on(Stage.STARTTLS, "454 4.7.0 not now"),), _TLS, service=_ENCRYPTED, encrypted=True
    ),
    "STARTTLS: drop": Unreachable((on(Stage.STARTTLS, Drop()),), _REFUSED, service=_ENCRYPTED, encrypted=True),
    "STARTTLS: hang": Unreachable((on(Stage.STARTTLS, Hang()),), TIMED_OUT, service=_ENCRYPTED, encrypted=True),
    "lies: offers STARTTLS and has none": Unreachable(
        (on(Stage.EHLO, "250 receiver.invalid\n250 STARTTLS"),), _TLS, service=_ENCRYPTED
    ),
    "AUTH: 535": Unreachable(
        (on(Stage.AUTH, "535 5.7.8 wrong"),),
        f"{_AUTH} (535 5.7.8)",
        options={"credentials": CREDENTIALS},
        service=WITH_PASSWORD,
        auths=1,
        rest=RestAnswer(500, f"{_AUTH} (535 5.7.8)"),
    ),
    "AUTH: 454": Unreachable(
        (on(Stage.AUTH, "454 4.7.0 later"),),
        f"{_AUTH} (454 4.7.0)",
        options={"credentials": CREDENTIALS},
        service=WITH_PASSWORD,
        auths=1,
        rest=QUEUED_BY_REST,
    ),
    "AUTH: drop": Unreachable(
        (on(Stage.AUTH, Drop()),),
        _AUTH,
        options={"credentials": CREDENTIALS},
        service=WITH_PASSWORD,
        auths=1,
    ),
    "AUTH: hang": Unreachable(
        (on(Stage.AUTH, Hang()),),
        TIMED_OUT,
        options={"credentials": CREDENTIALS},
        service=WITH_PASSWORD,
        auths=1,
    ),
    "AUTH: not offered": Unreachable(
        (on(Stage.EHLO, "250 receiver.invalid"),),
        _AUTH,
        options={"credentials": CREDENTIALS},
        service=WITH_PASSWORD,
    ),
    "lies: offers AUTH and has none": Unreachable(
        (on(Stage.EHLO, "250 receiver.invalid\n250 AUTH PLAIN"),),
        f"{_AUTH} (503 5.5.1)",
        service=WITH_PASSWORD,
        auths=1,
    ),
}
