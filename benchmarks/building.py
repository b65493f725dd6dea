"""What building and signing a mail takes, ours and by others, one case in a process of its own.

    python -m benchmarks.building CASE SECONDS

Writes the microseconds of CPU of each call, and how much more memory than before it took at most, as JSON.
"""

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP

from benchmarks.process import forget_peak, peak_bytes, resident_bytes

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MEBIBYTE = 1024 * 1024
PARAGRAPH = "Your order left our warehouse this morning, and will be with you between nine and eleven on Thursday.\n"
LEAST_CALLS = 3

Work = Callable[[], object]


def _text(size: int) -> str:
    return (PARAGRAPH * (1 + size // len(PARAGRAPH)))[:size]


def _html(size: int) -> str:
    return f"<html><body>{_text(size).replace('.', '.<br>')}</body></html>"


def _ours(text: str, html: str | None, attachment: bytes | None = None) -> Work:
    from app.mail.address import Mailbox
    from app.mail.compose import compose
    from app.mail.draft import Attachment, Draft

    sender = Mailbox("shop@sender.example", "The shop")
    files = (Attachment("report.bin", attachment),) if attachment is not None else ()
    draft = Draft(
        to=(Mailbox("ada@load.example", "Ada Customer"),),
        subject="Your order is on its way",
        text=text,
        html=html,
        attachments=files,
    )
    message_id = "<019ac0de-0000-7000-8000-000000000000@sender.example>"
    return lambda: compose(draft, sender=sender, reply_to=None, message_id=message_id, date=WHEN)


def _stock(text: str, html: str | None, attachment: bytes | None = None) -> Work:
    def build() -> bytes:
        message = EmailMessage(policy=SMTP)
        message["Date"], message["From"] = WHEN, "The shop <shop@sender.example>"
        message["To"], message["Subject"] = "Ada Customer <ada@load.example>", "Your order is on its way"
        message["Message-ID"] = "<019ac0de-0000-7000-8000-000000000000@sender.example>"
        message.set_content(text)
        if html is not None:
            message.add_alternative(html, subtype="html")
        if attachment is not None:
            message.add_attachment(attachment, "application", "octet-stream", filename="report.bin")
        return message.as_bytes()

    return build


def _content(size: int) -> bytes:
    made: bytes = _ours(_text(size // 2), _html(size // 2))()  # type: ignore[assignment]
    return made


def _our_signature(kind: str, size: int) -> Work:
    from app.mail.dkim import Signer, sign

    signer, content = Signer("sender.example", "s1", _key(kind)), _content(size)  # type: ignore[arg-type]
    return lambda: sign(content, [signer], 1_767_322_800)


def _dkimpy_signature(kind: str, size: int) -> Work:
    import dkim

    content = _content(size)
    if kind == "rsa":
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = _key(kind).private_bytes(  # type: ignore[attr-defined]
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        algorithm = b"rsa-sha256"
    else:
        key, algorithm = base64.b64encode(bytes(range(32))), b"ed25519-sha256"
    return lambda: dkim.sign(
        content, b"s1", b"sender.example", key, canonicalize=(b"relaxed", b"relaxed"), signature_algorithm=algorithm
    )


def _key(kind: str) -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    return (
        generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    )


CASES: dict[str, Callable[[], Work]] = {
    "ours text 1 KB": lambda: _ours(_text(1024), None),
    "stock text 1 KB": lambda: _stock(_text(1024), None),
    "ours text and html 5 KB": lambda: _ours(_text(2560), _html(2560)),
    "stock text and html 5 KB": lambda: _stock(_text(2560), _html(2560)),
    "ours attachment 25 MiB": lambda: _ours(_text(1024), None, os.urandom(25 * MEBIBYTE)),
    "stock attachment 25 MiB": lambda: _stock(_text(1024), None, os.urandom(25 * MEBIBYTE)),
    "ours rsa 5 KB": lambda: _our_signature("rsa", 5120),
    "dkimpy rsa 5 KB": lambda: _dkimpy_signature("rsa", 5120),
    "ours ed25519 5 KB": lambda: _our_signature("ed25519", 5120),
    "dkimpy ed25519 5 KB": lambda: _dkimpy_signature("ed25519", 5120),
    "ours rsa 10 MiB": lambda: _our_signature("rsa", 10 * MEBIBYTE),
    "dkimpy rsa 10 MiB": lambda: _dkimpy_signature("rsa", 10 * MEBIBYTE),
}


def measure(work: Work, seconds: float) -> dict[str, float]:
    """Call it for so long, at least LEAST_CALLS times after the first one."""
    before = resident_bytes(os.getpid())
    forget_peak(os.getpid())
    work()
    peak = peak_bytes(os.getpid()) - before
    began, calls = time.process_time(), 0
    while calls < LEAST_CALLS or time.process_time() - began < seconds:
        work()
        calls += 1
    return {"us": (time.process_time() - began) / calls * 1e6, "peak": peak / MEBIBYTE}


def main() -> None:
    """The program."""
    case, seconds = sys.argv[1:]
    print(json.dumps(measure(CASES[case](), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
