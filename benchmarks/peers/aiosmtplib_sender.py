"""aiosmtplib, each connection used again: an EmailMessage for each mail."""

from collections.abc import Iterator
from email.message import EmailMessage

from aiosmtplib import SMTP

from benchmarks.peers.sending import MAIL, run_clients


def message_to(recipients: list[str]) -> EmailMessage:
    """The mail."""
    message = EmailMessage()
    message["From"], message["Reply-To"], message["Subject"] = MAIL["from"], MAIL["replyTo"], MAIL["subject"]
    message["To"] = ", ".join(recipients)
    message.set_content(MAIL["text"])
    message.add_alternative(MAIL["html"], subtype="html")
    return message


async def client(port: int, batches: Iterator[list[str]]) -> None:
    """One connection."""
    async with SMTP(hostname="127.0.0.1", port=port, start_tls=False) as smtp:
        for recipients in batches:
            await smtp.send_message(message_to(recipients))


if __name__ == "__main__":
    run_clients(client)
