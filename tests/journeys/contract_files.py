"""Section 2 of the contract: attachments in every shape."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

from tests.journeys.contract import (
    AS_SENT,
    BODY,
    MULTIPART,
    Arrival,
    Request,
    Row,
    mail,
    multipart,
    not_taken,
    sent,
    taken,
)
from tests.journeys.reading import File

OCTETS = bytes(range(256)) + b"\r\n.\r\n"
TEXT = {"name": "a.txt", "content": b64encode(OCTETS).decode()}
PICTURE = {"name": "logo.png", "content": b64encode(b"\x89PNG").decode()}
A_TXT = File("a.txt", "text/plain", OCTETS)
LOGO = File("logo.png", "image/png", b"\x89PNG")
HTML = '<img src="cid:logo@x">'
BY_PATH = "names a file by something else than an http or https URL"


def attached(arrived: File, **entry: Any) -> Row:
    """One attachment with these entries."""
    return taken(mail(attachments=[TEXT | entry]), files=(arrived,))


def uploaded(*files: tuple[str, str, str | None, bytes]) -> Request:
    """The usual mail as a form with files."""
    return replace(mail(), body=multipart(BODY, *files), content_type=MULTIPART)


def under(name: str) -> Row:
    """A file in a field of this name."""
    return taken(uploaded((name, "a.txt", "text/plain", OCTETS)), files=(A_TXT,))


def no_entry(says: str, field: str, entry: Any, status: int = 400) -> Row:
    """An entry of `attachments` that is refused."""
    return not_taken(mail(attachments=[entry]), status, says, field=field)


AS_JSON = {
    "attachments: a list": taken(mail(attachments=[TEXT, PICTURE]), files=(A_TXT, LOGO)),
    "attachments: one object": taken(mail(attachments=TEXT), files=(A_TXT,)),
    "attachments: empty": taken(mail(attachments=[], attachment="")),
    "attachment: an object": taken(mail(attachment=TEXT), files=(A_TXT,)),
    "attachment: a list": taken(mail(attachment=[TEXT, PICTURE]), files=(A_TXT, LOGO)),
    "both names at once": taken(mail(attachments=[PICTURE], attachment=TEXT), files=(LOGO, A_TXT)),
    "an attachment alone is a mail": taken(mail(body_text=None, attachments=[PICTURE]), text=None, files=(LOGO,)),
    "a type of its own": attached(File("a.txt", "text/csv", OCTETS), content_type="text/csv; charset=utf-8"),
    "a type that is guessed": attached(File("a.pdf", "application/pdf", OCTETS), name="a.pdf"),
    "a type that nobody knows": attached(File("a.zzz", "application/octet-stream", OCTETS), name="a.zzz"),
    "base64 in lines": attached(File("a.txt", "text/plain", b"octets"), content="b2N0\r\n ZXRz\n"),
    "an empty file": attached(File("a.txt", "text/plain", b""), content=""),
    "a name beyond ASCII": attached(File("Grüße 🎉.txt", "text/plain", OCTETS), name="Grüße 🎉.txt"),
    "a name that is a path": attached(File("passwd", "application/octet-stream", OCTETS), name="../../etc/passwd"),
    "a name that is a path elsewhere": attached(File("a.txt", "text/plain", OCTETS), name="C:\\Windows\\..\\a.txt"),
    "a name that is a folder": attached(File("attachment", "application/octet-stream", OCTETS), name="/etc/.."),
    "an inline image": Row(
        [(mail(body_html=HTML, attachments=[PICTURE | {"content_id": "logo@x"}]), sent())],
        [
            Arrival(
                mail=replace(AS_SENT, html=HTML + "\r\n", files=(LOGO,)),
                raw=[b"multipart/related;", b"Content-ID: <logo@x>\r\n", b'inline; filename="logo.png"\r\n'],
            )
        ],
    ),
}

UPLOADED = {
    **{
        f"a file as {name}": under(name)
        for name in ("file", "file[]", "attachment", "attachment[]", "attachments", "attachments[]", "whatever")
    },
    "files under several names": taken(
        uploaded(
            ("attachments[]", "a.txt", "text/plain", OCTETS),
            ("file", "logo.png", "image/png", b"\x89PNG"),
            ("attachments[]", "b.bin", None, b""),
        ),
        files=(A_TXT, LOGO, File("b.bin", "application/octet-stream", b"")),
    ),
    "a file without a type": taken(uploaded(("file", "a.txt", None, OCTETS)), files=(A_TXT,)),
    "a file that is a path": taken(uploaded(("file", "/etc/a.txt", None, OCTETS)), files=(A_TXT,)),
    "a file input that nobody filled in": taken(uploaded(("file", "", "application/octet-stream", b""))),
    "the files of a form without a field": not_taken(
        replace(mail(), body=multipart({}, ("file", "a.txt", None, b"a")), content_type=MULTIPART),
        400,
        "Invalid email - ''.",
    ),
}

REFUSED = {
    "bad base64": no_entry(
        "The content of 'a.txt' in 'attachments' is not valid base64.",
        "attachments.0.content",
        TEXT | {"content": "no base64!"},
    ),
    "base64 cut off": no_entry(
        "The content of 'a.txt' in 'attachments' is not valid base64.",
        "attachments.0.content",
        TEXT | {"content": "b2N0ZXR"},
    ),
    "no content": no_entry("Each entry of 'attachments' must be an object", "attachments.0", {"name": "a.txt"}),
    "no name": no_entry("An attachment needs a file name", "attachments.0.name", TEXT | {"name": " "}),
    "a number": no_entry("Each entry of 'attachments' must be an object", "attachments.0", 5),
    "an odd type": no_entry("'text' is no media type", "attachments.0.content_type", TEXT | {"content_type": "text"}),
    "a type of many parts": no_entry(
        "An attachment is one file", "attachments.0.content_type", TEXT | {"content_type": "multipart/mixed"}
    ),
    "a type that is a number": no_entry(
        "The field 'content_type' must be a string.", "attachments.0.content_type", TEXT | {"content_type": 5}
    ),
    "a file of another service": not_taken(
        mail(attachment={"service": "files", "path": "a.txt"}),
        400,
        f"The field 'attachment' {BY_PATH}",
        field="attachment.0",
    ),
    "a path of the server": not_taken(mail(attachment="/etc/passwd"), 400, f"The field 'attachment' {BY_PATH}"),
    "another scheme": not_taken(mail(attachment="file:///etc/passwd"), 400, f"The field 'attachment' {BY_PATH}"),
    "a path to import": not_taken(mail(import_url="ftp://x.example/a"), 400, f"The field 'import_url' {BY_PATH}"),
    "a URL of a host that is not listed": not_taken(
        mail(attachment="https://files.example/a.txt"),
        400,
        "This server fetches no files from the host 'files.example'",
        field="attachment.0",
    ),
    "a URL to import of a host that is not listed": not_taken(
        mail(import_url="http://127.0.0.1:1/"),
        400,
        "This server fetches no files from the host '127.0.0.1'",
        field="import_url.0",
    ),
    "two of one content id": not_taken(
        mail(attachments=[PICTURE | {"content_id": "a"}, TEXT | {"content_id": "a"}]),
        400,
        "The content id a is used twice",
        field="attachments.1.content_id",
    ),
}

ROWS = {**AS_JSON, **UPLOADED, **REFUSED}
