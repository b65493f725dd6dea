"""FastAPI-mail: FastMail.send_message for each mail."""

from collections.abc import Iterator

from fastapi_mail import ConnectionConfig, FastMail, MessageSchema, MessageType, MultipartSubtypeEnum
from pydantic import NameEmail, SecretStr

from benchmarks.peers.sending import MAIL, run_clients


def mailer(port: int) -> FastMail:
    """As its documentation sets it up, without TLS and login."""
    config = ConnectionConfig(
        MAIL_USERNAME="",
        MAIL_PASSWORD=SecretStr(""),
        MAIL_FROM="shop@sender.example",
        MAIL_FROM_NAME="The shop",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=port,
        MAIL_STARTTLS=False,
        MAIL_SSL_TLS=False,
        USE_CREDENTIALS=False,
        VALIDATE_CERTS=False,
    )
    return FastMail(config)


async def client(port: int, batches: Iterator[list[str]]) -> None:
    """One mail after the other."""
    fast_mail = mailer(port)
    for recipients in batches:
        message = MessageSchema(
            subject=MAIL["subject"],
            recipients=[NameEmail("Ada", recipient) for recipient in recipients],
            body=MAIL["html"],
            alternative_body=MAIL["text"],
            subtype=MessageType.html,
            multipart_subtype=MultipartSubtypeEnum.alternative,
        )
        await fast_mail.send_message(message)


if __name__ == "__main__":
    run_clients(client)
