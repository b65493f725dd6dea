"""Keys: UUIDv7 (RFC 9562 section 5.7), ordered by the time they were made."""

import threading
from uuid import UUID, SafeUUID

from app.clock import milliseconds
from app.randomness import RandomOctets

_lock = threading.Lock()
_last = 0
_random = RandomOctets(10)
_RANDOM_MASK = (1 << 73) - 1
_LOW = (1 << 48) - 1
_DIGITS = 32

# A UUID's own __init__ looks at all that it could be made of, which takes several times as long.
_new, _set, _UNKNOWN = UUID.__new__, object.__setattr__, SafeUUID.unknown


def new_key() -> UUID:
    """A new UUIDv7. Keys of one process strictly increase, also within one millisecond."""
    return _key(_laid_out(_take(1)))


def stored_key(text: str) -> UUID:
    """The key that SQL keeps as this text: as UUID() has it, sooner. Raises ValueError."""
    digits = text.replace("-", "")
    return _key(int(digits, 16)) if len(digits) == _DIGITS else UUID(text)


def new_key_texts(count: int) -> list[str]:
    """So many new keys, as SQL takes them; each is the one that follows the one before."""
    first = _take(count)
    if count == 1 or first >> 48 != first + count >> 48:
        return [_text(first + number) for number in range(count)]
    beginning, low = _text(first)[:24], first & _LOW | _LOW + 1  # so that hex() keeps the zeros
    return [beginning + hex(number)[3:] for number in range(low, low + count)]


def _key(number: int) -> UUID:
    key = _new(UUID)
    _set(key, "int", number)
    _set(key, "is_safe", _UNKNOWN)
    return key


def _take(count: int) -> int:
    """The first of so many numbers of 48 bits of time and 74 others that follow each other, greater than all before."""
    global _last
    with _lock:
        random = int.from_bytes(_random(), "big") & _RANDOM_MASK
        # 74 random bits below the time stamp; keys that would not increase continue from the last one.
        first = (milliseconds() << 74) | random
        if first <= _last:
            first = _last + 1
        _last = first + count - 1
    return first


def _laid_out(number: int) -> int:
    """With version and variant, in whose places the key has none of the number's bits."""
    return number >> 74 << 80 | 0x7 << 76 | (number >> 62 & 0xFFF) << 64 | 0b10 << 62 | number & (1 << 62) - 1


def _text(number: int) -> str:
    digits = _hex(_laid_out(number))
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
