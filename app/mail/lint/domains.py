"""Domains that belong together, and domains that only look as if they did."""

import unicodedata

import idna

# Letters and digits that look like a Latin letter in the fonts that mail programs use; of i, l, 1 and | all are l.
_CYRILLIC = dict(zip(range(0x430, 0x450), "abbrde\0\0\0\0k\0mhonpct\0\0x\0\0\0\0\0\0\0\0\0\0", strict=True))
_GREEK = dict(zip(range(0x3B1, 0x3CA), "ab\0de\0n\0lk\0uv\0opps\0tu\0x\0w", strict=True))
_OTHERS = {"\u0455": "s", "\u0456": "l", "\u0458": "j", "\u0501": "d", "\u051b": "q", "\u051d": "w", "\u04bb": "h"}
_OTHERS |= {"\u0131": "l", "\u0261": "g", "\u0269": "l", "0": "o", "1": "l", "i": "l", "|": "l", "\u0443": "y"}
_ALIKE = {
    **{code: letter for code, letter in (_CYRILLIC | _GREEK).items() if letter != "\0"},
    **str.maketrans(_OTHERS),
}
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"))
_SHORTEST_NAME = 5


def domain_of(email: str) -> str:
    """The domain of an address, in lower case and A-labels where it has some."""
    domain = email.rpartition("@")[2].lower()
    try:
        return domain if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:
        return domain


def are_related(one: str, other: str) -> bool:
    """Whether one of the domains is the other, or below it: the relaxed alignment of RFC 7489 section 3.1, as far as it
    can be told without a list of public suffixes."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def look_alike(one: str, other: str) -> bool:
    """Whether people may take one domain for the other, which it is not: letters of another script, digits for letters,
    one character more, less or other. Domains of one name below different top levels do not count."""
    if are_related(one, other):
        return False
    labels = min(one.count("."), other.count(".")) + 1
    first, second = (_shown(domain).split(".")[-labels:] for domain in (one, other))
    names = ".".join(first[:-1]), ".".join(second[:-1])
    if names[0] == names[1]:
        return False
    alike = _skeleton(names[0]), _skeleton(names[1])
    return alike[0] == alike[1] or (min(map(len, names)) >= _SHORTEST_NAME and _one_edit_apart(*alike))


def _shown(domain: str) -> str:
    try:
        return idna.decode(domain)
    except UnicodeError:
        return domain


def _skeleton(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.lower())
    plain = "".join(char for char in letters if not unicodedata.combining(char)).translate(_ALIKE)
    for pair, letter in _PAIRS:
        plain = plain.replace(pair, letter)
    return plain


def _one_edit_apart(one: str, other: str) -> bool:
    """Whether one character inserted, left out, replaced, or exchanged with the next, makes one of the other."""
    same = next((n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if same is None:
        return abs(len(one) - len(other)) == 1
    rest, others = one[same:], other[same:]
    exchanged = rest[1:2] + rest[:1] + rest[2:]
    return others in (exchanged, rest[1:]) or rest[1:] == others[1:] or rest == others[1:]
