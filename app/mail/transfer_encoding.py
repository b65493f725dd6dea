"""Base64 as it comes in: RFC 4648, strict but for white space (RFC 2045 section 6.8)."""

import base64
import binascii


def decode_base64(text: str) -> bytes | None:
    """The octets, or None when the text is not base64. White space between the characters is allowed."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
