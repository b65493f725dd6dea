"""The input of sendEmail as it is in nearly all mail, read from JSON straight into a Draft.

Nothing is refused here: what is not quite usual is left to the input's types, which say what is wrong with it. The
answer is the one that they and `read_submission` give together.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from app.mail.address import Mailbox
from app.mail.draft import Draft
from app.mail.octets import in_memory

_TEXTS = frozenset({"subject", "text", "html"})
_RECIPIENTS = frozenset({"to", "cc", "bcc"})
_SINGLE = {"from": ("from_email", "from_name"), "replyTo": ("reply_to_email", "reply_to_name")}
_OBJECTS = {"templateData": "template_data", "metadata": "metadata"}
"""The other names are those of a Draft."""

_ABSENT_IF_NULL = frozenset({*_TEXTS, *_RECIPIENTS, *_SINGLE, *_OBJECTS, "template", "idempotencyKey"})


@dataclass(slots=True)
class PlainMail:
    """What the input asks for; at once, and nobody waits for it."""

    service: str
    draft: Draft
    idempotency_key: str | None
    wait_seconds: ClassVar[None] = None

    def whole_draft(self) -> Draft:
        """The draft, and no long text in its values: who sent it should be known before that is read into memory."""
        for values in (self.draft.template_data, self.draft.metadata):
            if values:
                in_memory(values)
        return self.draft


def read_plain(given: Any) -> PlainMail | None:
    """The mail of this value of JSON; None for one that is anything but usual."""
    service = given.get("service") if type(given) is dict else None
    if type(service) is not str:
        return None
    draft = Draft()
    idempotency_key: str | None = None
    for name, value in given.items():
        kind = type(value)
        if kind is str and name in _TEXTS:
            setattr(draft, name, value)
        elif kind is str and name == "template":
            draft.template = value or None
        elif kind is str and name == "idempotencyKey":
            idempotency_key = value
        elif kind is list and name in _RECIPIENTS and all(map(_is_mailbox, value)):
            setattr(draft, name, tuple([Mailbox(entry["email"], entry.get("name") or None) for entry in value]))
        elif kind is dict and name in _SINGLE and _is_mailbox(value):
            email_field, name_field = _SINGLE[name]
            setattr(draft, email_field, value["email"])
            setattr(draft, name_field, value.get("name") or "")
        elif kind is dict and name in _OBJECTS:
            setattr(draft, _OBJECTS[name], value)
        elif name != "service" and not (value is None and name in _ABSENT_IF_NULL):
            return None
    return PlainMail(service, draft, idempotency_key)


def _is_mailbox(value: Any) -> bool:
    if type(value) is not dict or type(value.get("email")) is not str:
        return False
    name = value.get("name")
    return (name is None or type(name) is str) and len(value) == 1 + ("name" in value)
