"""What becomes of a mail of which nobody can know whether the server took it."""

from enum import StrEnum


class OnDoubt(StrEnum):
    """RETRY: it is tried again, with the same Message-ID, and may arrive twice (RFC 1047). FAIL: it fails, and may
    have arrived."""

    RETRY = "retry"
    FAIL = "fail"


def uncertain(reason: str) -> str:
    """The detail of a recipient that failed because of OnDoubt.FAIL; `reason` is a sentence."""
    return f"Uncertain: the server may or may not have taken the mail. {reason}"
