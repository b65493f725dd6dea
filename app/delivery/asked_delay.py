"""How long a server asks to be left alone: "try again in 5 minutes". Pure."""

import re

from app.mail.reply import Reply, Severity

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_VERB = r"\b(?:try(?:ing)?|retry(?:ing)?|come back|check back|wait|grey-?list(?:ed|ing)|deferred)"
_BETWEEN = r"(?:[ ,]+(?:it|again|back|later|please|in|after|for|at least|about|approximately|another|action))*"
_CLOCK = r"(?P<clock>[0-9]{1,3}:[0-9]{2}:[0-9]{2})"
_AMOUNT = r"(?P<number>[0-9]{1,6})[ ]*(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)"
_ASKED = re.compile(rf"{_VERB}{_BETWEEN}[ ]+(?:{_CLOCK}|{_AMOUNT})\b", re.IGNORECASE)
_READ_CHARS = 2000


def asked_delay(reply: Reply) -> float | None:
    """The seconds that a 4yz reply asks to wait, as in "try again in 5 minutes" or "come back in 00:05:00"; else None.

    Only the beginning of the text is read. How far the number is trusted is the retry policy's matter.
    """
    if reply.severity is not Severity.TRANSIENT:
        return None
    found = _ASKED.search(" ".join(reply.text[:_READ_CHARS].split()))
    if found is None:
        return None
    if found["clock"]:
        hours, minutes, seconds = (int(part) for part in found["clock"].split(":"))
        return float(hours * 3600 + minutes * 60 + seconds)
    return int(found["number"]) * _UNITS[found["unit"][0].lower()]
