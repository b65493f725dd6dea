"""Keys: UUIDv7 (RFC 9562 section 5.7), ordered by the time they were made."""

import threading
from uuid import UUID, SafeUUID

from app.clock import milliseconds
from app.randomness import RandomParts

_lock = threading.Lock()
_last = 0
_random = RandomParts("=QH")

# A key's number has its time in the highest 48 bits, and in fixed places version and variant. Of the 62 bits below, the
# highest is none of the random ones: so many keys can follow each other that none ever gets there.
_VERSION = 0x7000
_VARIANT = 0b10 << 62
_RANDOM_HIGH = (1 << 12) - 1
_RANDOM_LOW = (1 << 61) - 1
_LAST_OCTET = 0xFF
_LAST_DIGITS = [f"{octet:02x}" for octet in range(_LAST_OCTET + 1)]
_DIGITS = 32

# A UUID's own __init__ looks at all that it could be made of, and a member of an Enum is looked up in it: both take
# several times as long.
_new = UUID.__new__
_set_number, _set_safety = UUID.int.__set__, UUID.is_safe.__set__  # type: ignore[misc, attr-defined]
_UNKNOWN = SafeUUID.unknown


def new_key() -> UUID:
    """A new UUIDv7. Keys of one process strictly increase, also within one millisecond."""
    return _key(_take(1))


def stored_key(text: str) -> UUID:
    """The key that SQL keeps as this text: as UUID() has it, sooner. Raises ValueError."""
    digits = text.replace("-", "")
    return _key(int(digits, 16)) if len(digits) == _DIGITS else UUID(text)


def new_key_texts(count: int) -> list[str]:
    """So many new keys, as SQL takes them; each is the one that follows the one before."""
    first = _take(count)
    end, texts = first + count, list[str]()
    while first < end:
        shared, last = _text(first)[:-2], first & _LAST_OCTET
        texts += [shared + digits for digits in _LAST_DIGITS[last : last + end - first]]
        first += 1 + _LAST_OCTET - last
    return texts


def _key(number: int) -> UUID:
    key = _new(UUID)
    _set_number(key, number)
    _set_safety(key, _UNKNOWN)
    return key


def _take(count: int) -> int:
    """The first of so many numbers that follow each other, greater than all before."""
    global _last
    with _lock:
        low, high = _random()
        first: int = (milliseconds() << 16 | _VERSION | high & _RANDOM_HIGH) << 64 | _VARIANT | low & _RANDOM_LOW
        if first <= _last:  # keys that would not increase continue from the last one
            first = _last + 1
        _last = first + count - 1
    return first


def _text(number: int) -> str:
    digits = _hex(number)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def public_id(kind: str, key: UUID) -> str:
    """How a key shows outside: its kind and 32 hex digits, e.g. `msg_01a20440c507751f9930f7fdeeecb569`."""
    return f"{kind}_{_hex(key.int)}"


def _hex(number: int) -> str:
    return number.to_bytes(16, "big").hex()


def parse_public_id(text: str) -> tuple[str, UUID] | None:
    """Kind and key of a public id, or None when it is not one."""
    kind, separator, digits = text.rpartition("_")
    if not separator or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return kind, UUID(hex=digits)
