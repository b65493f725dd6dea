"""Keys: UUIDv7 (RFC 9562 section 5.7), ordered by the time they were made."""

import threading
from uuid import UUID

from app.clock import now
from app.randomness import RandomOctets

_lock = threading.Lock()
_last = 0
_random = RandomOctets(10)
_RANDOM_MASK = (1 << 73) - 1


def new_key() -> UUID:
    """A new UUIDv7. Keys of one process strictly increase, also within one millisecond."""
    with _lock:
        return UUID(int=_new_number(_milliseconds()))


def new_key_texts(count: int) -> list[str]:
    """So many new keys, as SQL takes them."""
    with _lock:
        milliseconds = _milliseconds()
        digits = [f"{_new_number(milliseconds):032x}" for _ in range(count)]
    return [f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}" for text in digits]


def _milliseconds() -> int:
    return int(now().timestamp() * 1000)


def _new_number(milliseconds: int) -> int:
    """Hold the lock."""
    global _last
    random = int.from_bytes(_random(), "big") & _RANDOM_MASK
    # 74 random bits below the time stamp; a key that would not increase continues from the last one.
    value = (milliseconds << 74) | random
    if value <= _last:
        value = _last + 1
    _last = value
    return value >> 74 << 80 | 0x7 << 76 | (value >> 62 & 0xFFF) << 64 | 0b10 << 62 | value & (1 << 62) - 1


def public_id(kind: str, key: UUID) -> str:
    """How a key shows outside: its kind and 32 hex digits, e.g. `msg_01a20440c507751f9930f7fdeeecb569`."""
    return f"{kind}_{key.hex}"


def parse_public_id(text: str) -> tuple[str, UUID] | None:
    """Kind and key of a public id, or None when it is not one."""
    kind, separator, digits = text.rpartition("_")
    if not separator or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return kind, UUID(hex=digits)
