"""Django's mail: EmailMultiAlternatives for each mail, on one connection of its SMTP backend that stays open."""

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from benchmarks.peers.sending import MAIL, given_work


def main() -> None:
    """The program; Django's backend is synchronous, so its mails go one after the other."""
    work = given_work()
    settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT=work.port)
    with get_connection("django.core.mail.backends.smtp.EmailBackend") as connection:
        for recipients in work.batches():
            mail = EmailMultiAlternatives(
                MAIL["subject"],
                MAIL["text"],
                MAIL["from"],
                recipients,
                connection=connection,
                reply_to=[MAIL["replyTo"]],
            )
            mail.attach_alternative(MAIL["html"], "text/html")
            mail.send()
    work.tell()


if __name__ == "__main__":
    main()
