"""The receiver's side of XOAUTH2."""

import base64
import re

CHALLENGE = base64.b64encode(b'{"status":"401","schemes":"Bearer","scope":"https://mail.google.com/"}')
"""What a server says to a token that it does not take, before its reply."""


def user_and_token(response: str) -> tuple[str, str]:
    """What a client has said. Raises ValueError."""
    match = re.fullmatch(r"user=([^\x01]*)\x01auth=Bearer ([^\x01]*)\x01\x01", response)
    if match is None:
        raise ValueError("not what XOAUTH2 says")
    return match[1], match[2]
