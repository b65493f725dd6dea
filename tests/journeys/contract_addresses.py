"""Section 2 of the contract: addresses, sender, subject and bodies."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.journeys.contract import ANN, AS_SENT, SENDER, Arrival, Row, failed, mail, not_taken, sent, taken

BOB, CY = "bob@x.example", "cy@x.example"
DEFAULTS = {"fromName": "The Shop", "replyToEmail": "help@sender.example", "replyToName": "Help"}
NO_SMTPUTF8 = {"extensions": ("8BITMIME", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE")}
ONLY_UTF8 = "jürgen@x.example"


def having(service: dict[str, Any], row: Row, installation: str = "plain") -> Row:
    """The row with a service that has more."""
    return replace(row, service=service, installation=installation)


def beyond_ascii(recipients: Sequence[str], *raw: str, **fields: Any) -> Row:
    """A mail whose local parts need SMTPUTF8, read as octets: the two parsers disagree on RFC 6532."""
    arrived = Arrival(recipients, None, raw=[text.encode() for text in raw], parameters=["SMTPUTF8"])
    return Row([(mail(**fields), sent(len(recipients)))], [arrived])


RECIPIENTS = {
    "to: an address": taken(mail(to=ANN)),
    "to: a name and an address": taken(mail(to="Ann <ann@x.example>"), to="Ann <ann@x.example>"),
    "to: a quoted name with a comma": taken(mail(to='"Doe, Jane" <ann@x.example>'), to='"Doe, Jane" <ann@x.example>'),
    "to: with commas": taken(mail(to="ann@x.example, bob@x.example"), ANN, BOB, to="ann@x.example, bob@x.example"),
    "to: with semicolons": taken(mail(to="ann@x.example;bob@x.example;"), ANN, BOB, to="ann@x.example, bob@x.example"),
    "to: an object": taken(mail(to={"email": ANN, "name": "Ann"}), to="Ann <ann@x.example>"),
    "to: an object without a name": taken(mail(to={"email": ANN})),
    "to: all shapes in one list": taken(
        mail(to=[{"email": ANN, "name": "Ann"}, "Bob <bob@x.example>; cy@x.example", {"email": "di@x.example"}]),
        *(ANN, BOB, CY, "di@x.example"),
        to="Ann <ann@x.example>, Bob <bob@x.example>, cy@x.example, di@x.example",
    ),
    "cc and bcc: in the envelope, bcc in no header": taken(
        mail(cc=["Bob <bob@x.example>"], bcc=[{"email": CY, "name": "Cy"}]), ANN, BOB, CY, cc="Bob <bob@x.example>"
    ),
    "cc and bcc: empty is absent": taken(mail(cc="", bcc=[])),
    "the same mailbox gets one copy": taken(
        mail(to="ann@x.example, Ann <ann@X.EXAMPLE>", bcc=[ANN, BOB]),
        *(ANN, BOB),
        to="ann@x.example, Ann <ann@x.example>",
    ),
    "a local part's case is its own": taken(
        mail(to="ann@x.example, Ann@x.example"), ANN, "Ann@x.example", to="ann@x.example, Ann@x.example"
    ),
    "a name beyond ASCII": taken(mail(to="Zoë Ångström 🎉 <ann@x.example>"), to="Zoë Ångström 🎉 <ann@x.example>"),
    "a domain beyond ASCII": taken(
        mail(to="ann@bücher.example"), "ann@xn--bcher-kva.example", to="ann@xn--bcher-kva.example"
    ),
    "a local part beyond ASCII": beyond_ascii([ONLY_UTF8], f"To: {ONLY_UTF8}\r\n", to=ONLY_UTF8),
    "a local part and a domain beyond ASCII": beyond_ascii(
        ["jürgen@xn--bcher-kva.example"], "To: jürgen@xn--bcher-kva.example\r\n", to="jürgen@bücher.example"
    ),
    "a local part beyond ASCII, and a server that takes none": Row(
        [(mail(to=ONLY_UTF8), failed("550 5.6.7 The server does not offer SMTPUTF8", 550, enhanced_code="5.6.7"))],
        smtp=NO_SMTPUTF8,
        states={ONLY_UTF8: "FAILED"},
    ),
    "one of two local parts beyond ASCII, in bcc": Row(
        [(mail(bcc=ONLY_UTF8), sent(1))],
        [Arrival()],
        smtp=NO_SMTPUTF8,
        states={ANN: "SENT", ONLY_UTF8: "FAILED"},
    ),
}

BAD_ADDRESSES = {
    "no recipient": not_taken(mail(to=None), 400, "Invalid email - ''.", field="to"),
    "an empty recipient": not_taken(mail(to=""), 400, "Invalid email - ''."),
    "an empty list of recipients": not_taken(mail(to=[]), 400, "Invalid email - ''."),
    "only a copy": not_taken(mail(to=None, cc=ANN), 400, "Invalid email - ''."),
    "half an address": not_taken(mail(to="ann@"), 400, "Invalid email - 'ann@'.", field="to.0.email"),
    "an address with a space is not repaired": not_taken(
        mail(to="an n@x.example"), 400, "Invalid email - 'an n@x.example'."
    ),
    "an address in brackets that do not close": not_taken(
        mail(to="Ann <ann@x.example"), 400, "Invalid email - 'Ann <ann@x.example'."
    ),
    "an address with an encoded-word in it": not_taken(
        mail(to="=?utf-8?q?ann=40y.example=3E?=@x.example"),
        400,
        "Invalid email - '=?utf-8?q?ann=40y.example=3E?=@x.example'.",
    ),
    "one bad address among good ones": not_taken(mail(cc=[BOB, "x"]), 400, "Invalid email - 'x'.", field="cc.1.email"),
    "an address that is a number": not_taken(mail(to=5), 400, "Invalid email - '5'."),
    "a bad sender": not_taken(mail(from_email="me@"), 400, "Invalid email - 'me@'.", field="from_email"),
    "a bad reply-to": not_taken(mail(reply_to_email="me@"), 400, "Invalid email - 'me@'.", field="reply_to_email"),
    "no sender from anywhere": having(
        {"fromEmail": None}, not_taken(mail(), 400, "No sender", field="from_email", error_code="NO_SENDER")
    ),
}

SENDERS = {
    "the service's sender and reply-to": having(
        DEFAULTS, taken(mail(), sender="The Shop <me@sender.example>", reply_to="Help <help@sender.example>")
    ),
    "the request's sender and reply-to": having(
        DEFAULTS,
        Row(
            [
                (
                    mail(from_email="f@y.example", from_name="F", reply_to_email="r@y.example", reply_to_name="R"),
                    sent(),
                )
            ],
            [
                Arrival(
                    mail=replace(AS_SENT, sender="F <f@y.example>", reply_to="R <r@y.example>"),
                    reverse_path="f@y.example",
                )
            ],
        ),
    ),
    "each field of the sender by itself": having(
        DEFAULTS,
        taken(
            mail(from_name="Desk", reply_to_name="", reply_to_email="r@y.example"),
            sender="Desk <me@sender.example>",
            reply_to="Help <r@y.example>",
        ),
    ),
    "the sender of MAIL_FROM_*": having(
        {"fromEmail": None},
        Row(
            [(mail(), sent())],
            [
                Arrival(
                    mail=replace(AS_SENT, sender="The Environment <env@sender.example>"),
                    reverse_path="env@sender.example",
                )
            ],
        ),
        "environment",
    ),
    "the service's sender before that of MAIL_FROM_*": having(
        {"fromName": "The Shop"}, taken(mail(), sender=f"The Shop <{SENDER}>"), "environment"
    ),
    "the name of MAIL_FROM_NAME where the service has none": having(
        {}, taken(mail(), sender=f"The Environment <{SENDER}>"), "environment"
    ),
}

TEXTS = {
    "no subject, no Subject": taken(mail(subject=None), subject=None),
    "an empty subject": taken(mail(subject=""), subject=""),
    "a subject beyond ASCII": taken(mail(subject="Grüße 🎉 " * 30 + "."), subject="Grüße 🎉 " * 30 + "."),
    "only text": taken(mail(body_text="a\nb\r\nc\rd"), text="a\r\nb\r\nc\r\nd\r\n"),
    "only html": taken(mail(body_text=None, body_html="<p>Grüße</p>"), text=None, html="<p>Grüße</p>\r\n"),
    "text and html": Row(
        [(mail(body_html="<p>It works.</p>"), sent())],
        [Arrival(mail=replace(AS_SENT, html="<p>It works.</p>\r\n"), raw=[b"Content-Type: multipart/alternative;"])],
    ),
    "CSS survives": taken(
        mail(
            body_html="<style>p{color:red} a { b }</style><p>{who}</p>",
            body_text="if (a) {return;} {} { } {who}",
            who="Ann",
        ),
        html="<style>p{color:red} a { b }</style><p>Ann</p>\r\n",
        text="if (a) {return;} {} { } Ann\r\n",
    ),
    "neither text nor html": not_taken(
        mail(body_text=None), 400, "A message must have a text or an HTML part or attachments.", error_code="NO_BODY"
    ),
    "a subject that is a number": not_taken(mail(subject=5), 400, "The field 'subject' must be a string."),
    "a line break in the subject": not_taken(
        mail(subject="a\r\nBcc: eve@x.example"), 400, "Subject must not contain", field="subject"
    ),
    "a line break in a name": not_taken(
        mail(to={"email": ANN, "name": "a\nb"}), 400, "A name must not contain", field="to.0.name"
    ),
}

ROWS = {**RECIPIENTS, **BAD_ADDRESSES, **SENDERS, **TEXTS}
