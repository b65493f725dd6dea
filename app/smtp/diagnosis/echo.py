"""Take out of a server's words what it was told in confidence, also where it repeats only a part of it. Pure."""

import base64
import re

from app.smtp.server import Credentials, TokenCredentials

_SHARED = 8
"""So many characters in a row in common with a secret, and a word is taken for a part of it."""
_TOO_SHORT = 4
"""Shorter secrets are taken out where they are a word of their own: nearly every word has their letters in it."""


def without_echo(text: str, credentials: Credentials | TokenCredentials | None) -> str:
    """The text without any word that repeats the password, or what AUTH carried: whole, cut off, or within the word.

    What `reply_from` takes out, it knows by its whole form.
    """
    if not isinstance(credentials, Credentials):  # nothing is sent before a token is known
        return text
    secrets = {form.casefold() for form in _forms(credentials)} - {""}
    parts = {secret[start : start + _SHARED] for secret in secrets for start in range(len(secret) - _SHARED + 1)}
    short = {secret for secret in secrets if len(secret) < _SHARED}
    return re.sub(r"\S+", lambda word: "…" if _repeats(word[0].casefold(), parts, short) else word[0], text)


def _forms(credentials: Credentials) -> list[str]:
    """The password's words, and what PLAIN, LOGIN and XOAUTH2 carry, without the padding that may be cut off."""
    username, password = credentials.username, credentials.password
    carried = (
        username,
        password,
        f"\0{username}\0{password}",
        f"{username}\0{username}\0{password}",
        f"user={username}\1auth=Bearer {password}\1\1",
    )
    return [*password.split(), *(base64.b64encode(part.encode()).decode().rstrip("=") for part in carried)]


def _repeats(word: str, parts: set[str], short: set[str]) -> bool:
    if any(word[start : start + _SHARED] in parts for start in range(len(word) - _SHARED + 1)):
        return True
    alone = re.sub(r"^\W+|\W+$", "", word)
    return any(secret in (word if len(secret) >= _TOO_SHORT else (alone,)) for secret in short)
