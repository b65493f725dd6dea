"""Base64 as it comes in: RFC 4648, strict but for white space (RFC 2045 section 6.8)."""

import base64
import binascii

# Decoding holds the interpreter's lock, which is free between two slices: a large file keeps nobody waiting.
_SLICE = 256 * 1024
_GROUP = 4


def decode_base64(text: str) -> bytes | None:
    """The octets, or None when the text is not base64. White space between the characters is allowed."""
    decoded, kept = [], ""
    try:
        for start in range(0, len(text), _SLICE):
            kept += "".join(text[start : start + _SLICE].split())
            # What is padded, and the group before it, waits for the end: only there padding is right.
            end = kept.find("=") if "=" in kept else len(kept)
            whole = max(end - 1, 0) // _GROUP * _GROUP
            decoded.append(base64.b64decode(kept[:whole], validate=True))
            kept = kept[whole:]
        return b"".join((*decoded, base64.b64decode(kept, validate=True)))
    except (binascii.Error, ValueError):
        return None
