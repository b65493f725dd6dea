"""Tag lists: `v=DKIM1; k=rsa; p=...` (RFC 6376 section 3.2, RFC 9989). Pure."""

import re

_TAG = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*([^;]*?)\s*", re.DOTALL)


def parse_tags(text: str) -> dict[str, str] | None:
    """The tags in their order; None where the text is no tag list, or names a tag twice."""
    tags: dict[str, str] = {}
    for part in text.rstrip("; \t\r\n").split(";"):
        tag = _TAG.fullmatch(part)
        if tag is None or tag[1].lower() in tags:
            return None
        tags[tag[1].lower()] = tag[2]
    return tags
