"""Whether a role, or a browser key, may send this very mail. Pure.

The rule for the service decides, else the one for all services, as a whole: see policy.py. What is denied is refused
also where it is allowed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

from app.access.browser import BrowserRules
from app.access.patterns import Patterns
from app.access.policy import allows, not_granted, rule_for
from app.access.principal import Action, Principal
from app.access.restrictions import NO_RESTRICTIONS, Restrictions
from app.errors import ErrorCode, Forbidden, Problem
from app.mail.address import check_email
from app.mail.characters import shown

Path = tuple[str, ...]


class MailRule(StrEnum):
    """Which rule refuses a mail."""

    NOT_GRANTED = "NOT_GRANTED"
    FIXED_RECIPIENTS = "FIXED_RECIPIENTS"
    FIXED_FIELD = "FIXED_FIELD"
    TEMPLATE_NOT_ALLOWED = "TEMPLATE_NOT_ALLOWED"
    OWN_CONTENT = "OWN_CONTENT"
    SENDER_DENIED = "SENDER_DENIED"
    SENDER_NOT_ALLOWED = "SENDER_NOT_ALLOWED"
    REPLY_TO_REQUIRED = "REPLY_TO_REQUIRED"
    RECIPIENT_DENIED = "RECIPIENT_DENIED"
    RECIPIENT_NOT_ALLOWED = "RECIPIENT_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class AskedMail:
    """What the rules look at. An address that is none matches nothing and is not judged: the draft's check refuses it.

    `sender`: of the From field, which is the reverse-path too. `recipients`: each with the path of its field.
    `own_content`: the paths of the fields in which the mail brings content that no template holds. `own_fields`: of all
    other fields that its author filled in, recipients first, but for the values of placeholders.
    """

    sender: str | None
    recipients: tuple[tuple[Path, str], ...]
    reply_to: str | None = None
    template_id: UUID | None = None
    template_path: Path = ("template",)
    own_content: tuple[Path, ...] = ()
    own_fields: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that the mail breaks, and where."""

    rule: MailRule
    message: str
    field: Path


def require_mail(principal: Principal, service_id: UUID | None, mail: AskedMail) -> None:
    """Return if the mail breaks no rule, else raise Forbidden with every one that it breaks."""
    found = violations(principal, service_id, mail)
    if found:
        raise refusal_of(found)


def refusal_of(found: Sequence[Violation]) -> Forbidden:
    """What is said of a mail that breaks these rules, of which there is one at least."""
    return Forbidden(problems=[Problem(ErrorCode.FORBIDDEN, broken.message, broken.field) for broken in found])


def violations(principal: Principal, service_id: UUID | None, mail: AskedMail) -> tuple[Violation, ...]:
    """Every rule that the mail breaks, in the order of MailRule; none if the role may send it with this service."""
    if not allows(principal, Action.SEND, service_id):
        return (Violation(MailRule.NOT_GRANTED, not_granted(principal, Action.SEND), ()),)
    rules = restrictions(principal, service_id)
    if principal.browser is not None:
        return tuple(_broken_by_page(principal.browser, rules, mail))
    return () if rules == NO_RESTRICTIONS else tuple(_broken(f"The role {principal.role_name!r}", rules, mail))


def lets_author_pass(rules: Restrictions, sender: str | None, reply_to: str | None) -> bool:
    """Whether mail from this sender, with these replies, breaks none of the rules, whoever gets it and whatever it
    holds. False: `violations` has to look at the mail itself."""
    if rules.templates or rules.allowed_recipients or rules.denied_recipients:
        return False
    return not any(_broken("", rules, AskedMail(sender, (), reply_to)))


def restrictions(principal: Principal, service_id: UUID | None) -> Restrictions:
    """Those of the rule that holds for this service."""
    rule = rule_for(principal, service_id)
    return rule.restrictions if rule else NO_RESTRICTIONS


def _broken_by_page(browser: BrowserRules, rules: Restrictions, mail: AskedMail) -> Iterator[Violation]:
    """What everybody may read tells no address that the page did not name."""
    for path in mail.own_fields:
        if path[0] in _RECIPIENTS:
            message = "Access Forbidden. The recipients of this API key are fixed: leave out to, cc and bcc."
            yield Violation(MailRule.FIXED_RECIPIENTS, message, path)
        elif path[0] not in _REPLY_TO or not browser.visitor_reply_to:
            message = "Access Forbidden. This API key takes no such field: leave it out."
            yield Violation(MailRule.FIXED_FIELD, message, path)
    broken = _broken("This API key", rules, mail)
    yield from dict.fromkeys(one if one.rule in _TELL_NO_ADDRESS else _without_address(one) for one in broken)


def _without_address(broken: Violation) -> Violation:
    message = "Access Forbidden. This API key may not send this mail: ask who gave it to you."
    return Violation(broken.rule, message, ())


_TELL_NO_ADDRESS = (MailRule.TEMPLATE_NOT_ALLOWED, MailRule.OWN_CONTENT)
_RECIPIENTS = ("to", "cc", "bcc")
_REPLY_TO = ("reply_to_email", "reply_to_name")


def _broken(role: str, rules: Restrictions, mail: AskedMail) -> Iterator[Violation]:
    if rules.templates:
        yield from _template(role, rules, mail)
    if mail.sender:
        yield from _sender(role, rules, mail.sender)
    if rules.required_reply_to is not None:
        yield from _reply_to(role, rules.required_reply_to, mail.reply_to)
    yield from _recipients(role, rules, mail)


def _template(role: str, rules: Restrictions, mail: AskedMail) -> Iterator[Violation]:
    refused = f"Access Forbidden. {role} may send mail from its own templates only"
    if mail.template_id not in rules.templates:
        yield Violation(MailRule.TEMPLATE_NOT_ALLOWED, f"{refused}.", mail.template_path)
    for path in mail.own_content:
        message = f"{refused}, and {path[0]} is not part of one."
        yield Violation(MailRule.OWN_CONTENT, message, path)


def _sender(role: str, rules: Restrictions, sender: str) -> Iterator[Violation]:
    broken = _addresses(rules.allowed_senders, rules.denied_senders).refuse(sender)
    if broken is not None:
        why, denied = broken
        rule = MailRule.SENDER_DENIED if denied else MailRule.SENDER_NOT_ALLOWED
        message = f"Access Forbidden. {role} may not send as '{shown(sender)}': it is {why} senders."
        yield Violation(rule, message, ("from_email",))


def _recipients(role: str, rules: Restrictions, mail: AskedMail) -> Iterator[Violation]:
    addresses = _addresses(rules.allowed_recipients, rules.denied_recipients)
    for path, email in mail.recipients:
        broken = addresses.refuse(email)
        if broken is not None:
            why, denied = broken
            rule = MailRule.RECIPIENT_DENIED if denied else MailRule.RECIPIENT_NOT_ALLOWED
            message = f"Access Forbidden. {role} may not send to '{shown(email)}': it is {why} recipients."
            yield Violation(rule, message, path)


def _reply_to(role: str, required: str, reply_to: str | None) -> Iterator[Violation]:
    if reply_to and check_email(reply_to) is not None:
        return
    if not reply_to or not Patterns([required]).match(reply_to):
        message = f"Access Forbidden. {role} may send only mail with a Reply-To that matches '{shown(required)}'."
        yield Violation(MailRule.REPLY_TO_REQUIRED, message, ("reply_to_email",))


class _Addresses:
    """Allowed and denied patterns, made ready once for many addresses."""

    def __init__(self, allowed: tuple[str, ...], denied: tuple[str, ...]) -> None:
        self._limited = bool(allowed)
        self._allowed = Patterns(allowed)
        self._denied = Patterns(denied, loosely=True)

    def refuse(self, email: str) -> tuple[str, bool] | None:
        """Why the address is refused, and whether because it is denied; None if it is not."""
        if check_email(email) is not None:
            return None
        denied = self._denied.match(email)
        if denied is not None:
            return f"matched by '{shown(denied)}' of the denied", True
        if self._limited and self._allowed.match(email) is None:
            return "not among the allowed", False
        return None


@lru_cache(maxsize=1024)
def _addresses(allowed: tuple[str, ...], denied: tuple[str, ...]) -> _Addresses:
    return _Addresses(allowed, denied)
