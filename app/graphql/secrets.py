"""Secrets in a request, and errors without them: graphql-core tells what is wrong with a value by showing the value."""

import json
import re
from collections.abc import Iterable, Iterator

from graphql import ArgumentNode, DocumentNode, ObjectFieldNode, ValueNode, Visitor, visit
from graphql.pyutils import inspect

_SECRET = ("password", "secret", "privatekey", "refreshtoken")
_FOUND_TEXT = re.compile(r"\b(found (?:Block)?String) .*", re.DOTALL)


def secrets_in(document: DocumentNode | None, variables: object) -> tuple[str, ...]:
    """Every scalar, in the query text or in the variables, at any depth, whose field's name says that it is secret."""
    return tuple(dict.fromkeys((*_of_variables(variables), *_of_document(document))))


def without_secrets(message: str, secrets: Iterable[str]) -> str:
    """The message with *** for each of them, in whatever form it is shown; and without what stood where the query text
    could not be read."""
    for secret in secrets:
        for text in (secret, *(line.strip() for line in secret.splitlines() if "\n" in secret)):
            for form in filter(None, (text, repr(text)[1:-1], json.dumps(text)[1:-1], inspect(text)[1:-1])):
                message = message.replace(form, "***")
    return _FOUND_TEXT.sub(r"\1.", message)


def _of_variables(variables: object) -> Iterator[str]:
    waiting: list[tuple[str, object]] = [("", variables)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((str(key), item) for key, item in value.items())
        elif isinstance(value, list):
            waiting.extend((name, item) for item in value)
        elif value not in (None, "", True, False) and _is_secret(name):
            yield str(value)


def _of_document(document: DocumentNode | None) -> Iterable[str]:
    if document is None or (document.loc and not any(word in document.loc.source.body.lower() for word in _SECRET)):
        return ()
    reader = _Reader()
    visit(document, reader)
    return reader.found


class _Reader(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def enter_object_field(self, node: ObjectFieldNode, *_: object) -> None:
        self._read(node)

    def enter_argument(self, node: ArgumentNode, *_: object) -> None:
        self._read(node)

    def _read(self, node: ObjectFieldNode | ArgumentNode) -> None:
        if _is_secret(node.name.value):
            self.found += _scalars(node.value)


def _scalars(node: ValueNode) -> Iterator[str]:
    waiting: list[object] = [node]
    while waiting:
        value = waiting.pop()
        if isinstance(text := getattr(value, "value", None), str) and text:
            yield text
        waiting.extend(getattr(value, "values", ()) or ())
        waiting.extend(field.value for field in getattr(value, "fields", ()) or ())


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)
