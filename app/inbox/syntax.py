"""What a client may say: paths and parameters of MAIL and RCPT, chunks of BDAT, lines of content."""

import re
from collections.abc import Collection, Mapping

_TEXT_LINE = 1000
_LOCAL_OR_DOMAIN = r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^\s<>"\x00-\x1f\x7f])*'
_PATH = re.compile(rf"(FROM|TO): ?<(?:@[^\s<>:]+:)?({_LOCAL_OR_DOMAIN})>(?: +(\S.*))?", re.IGNORECASE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
_CHUNK = re.compile(r"([0-9]{1,20})( LAST)?", re.IGNORECASE)
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n)")


def read_path(keyword: str, argument: str) -> tuple[str | None, dict[str, str | None] | None]:
    """The path and the parameters of MAIL or RCPT; None for what is malformed."""
    match = _PATH.fullmatch(argument)
    if match is None or match[1].upper() != keyword:
        return None, None
    parameters: dict[str, str | None] = {}
    for word in (match[3] or "").split():
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None or parameter[1].upper() in parameters:
            return match[2], None
        parameters[parameter[1].upper()] = parameter[2]
    return match[2], parameters


def mail_problem(
    path: str, parameters: Mapping[str, str | None], extensions: Collection[str], max_bytes: int
) -> str | None:
    """The reply that refuses MAIL, or None."""
    known = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8"}
    for keyword in parameters:
        if keyword != "AUTH" and known.get(keyword) not in extensions:
            return f"555 5.5.4 Parameter {keyword} not recognized"
    if not path.isascii() and "SMTPUTF8" not in parameters:
        return "553 5.6.7 A non-ASCII address needs SMTPUTF8"
    size = parameters.get("SIZE", "0") or ""
    if not size.isdecimal() or len(size) > 20:
        return "501 5.5.4 SIZE is a number"
    if int(size) > max_bytes:
        return f"552 5.3.4 The limit is {max_bytes} octets"
    return None


def read_chunk(argument: str) -> tuple[int, bool] | None:
    """How many octets follow BDAT, and whether they are the last; None for what is malformed."""
    match = _CHUNK.fullmatch(argument)
    return (int(match[1]), match[2] is not None) if match else None


def content_problem(content: bytes) -> str | None:
    """The reply that refuses the content, or None."""
    if _BARE_LINE_END.search(content):
        return "550 5.6.11 Bare CR or LF in the content"
    if max((len(line) for line in content.split(b"\r\n")), default=0) + 2 > _TEXT_LINE:
        return f"550 5.6.0 A line of the content is longer than {_TEXT_LINE} octets"
    return None
