"""The generated matrix: a role may do exactly what its grants say, by a reference that knows nothing of the policy."""

from collections.abc import Sequence
from itertools import product
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.access.mail_policy import AskedMail, MailRule, lets_author_pass, violations
from app.access.policy import allows
from app.access.principal import Action, GrantRule, Principal
from app.access.restrictions import Restrictions
from tests.access.reference import Row, may, may_send

SERVICES = {"billing": UUID(int=1), "news": UUID(int=2), "unnamed": UUID(int=3)}
ADDRESSES = (
    "ada@a.example",
    "ADA@a.example",
    "ada@A.EXAMPLE",
    "eve@a.example",
    "ada@sub.a.example",
    "ada@ba.example",
    "ada@bücher.example",
    "ada@xn--bcher-kva.example",
    "ada@x.Bücher.example",
)
PATTERNS = ("*", "ada@a.example", "*@a.example", "*@*.a.example", "ada@*.example", "*@BÜCHER.example", "Ada@A.example")
SEND = frozenset({"SEND"})


def principal(role: Sequence[Row]) -> Principal:
    return Principal(UUID(int=1000), "mailer", UUID(int=1001), "laptop", tuple(map(_rule, role)))


def _rule(row: Row) -> GrantRule:
    actions = frozenset(action for action in Action if action in row.actions)
    restrictions = Restrictions(row.senders, row.not_senders, row.recipients, row.not_recipients)
    return GrantRule(SERVICES[row.service] if row.service else None, actions, restrictions)


def sends(who: Principal, service: str, sender: str, recipients: Sequence[str]) -> bool:
    named = tuple((("to", str(number), "email"), email) for number, email in enumerate(recipients))
    return violations(who, SERVICES[service], AskedMail(sender, named)) == ()


def test_every_pair_of_lists_for_every_address_as_sender_and_as_recipient() -> None:
    lists = [(), *((pattern,) for pattern in PATTERNS), ("*@a.example", "*@*.example")]
    asked = 0
    seen = set()
    for only, never, address in product(lists, lists, ADDRESSES):
        for role, sender, recipient in (
            ((Row(None, SEND, senders=only, not_senders=never),), address, "bob@b.example"),
            ((Row(None, SEND, recipients=only, not_recipients=never),), "bob@b.example", address),
        ):
            expected = may_send(role, "news", sender, [recipient])
            assert sends(principal(role), "news", sender, [recipient]) == expected, (role, sender, recipient)
            seen.add(expected)
            asked += 1
    assert (asked, seen) == (9 * 9 * 9 * 2, {True, False})


def test_every_pair_of_rows_for_every_service_and_action() -> None:
    sets = [frozenset(), SEND, frozenset({"MANAGE_SERVICES", "MANAGE_ACCESS"}), frozenset(Action)]
    for everywhere, here in product((None, *sets), (None, *sets)):
        rows = [Row(None, everywhere, ("*@a.example",)) if everywhere is not None else None]
        rows += [Row("news", here, (), ("*@a.example",)) if here is not None else None]
        role = [row for row in rows if row is not None]
        for service, action in product(SERVICES, Action):
            assert allows(principal(role), action, SERVICES[service]) == may(role, action, service)
        for service, sender in product(SERVICES, ADDRESSES):
            expected = may_send(role, service, sender, ["bob@b.example"])
            assert sends(principal(role), service, sender, ["bob@b.example"]) == expected


lists = st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple)
rows = st.builds(
    Row,
    st.sampled_from([None, "billing", "news"]),
    st.frozensets(st.sampled_from([action.value for action in Action])) | st.just(SEND),
    lists,
    lists,
    lists,
    lists,
)
roles = st.lists(rows, max_size=3, unique_by=lambda row: row.service)
recipients = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3)


@given(roles, st.sampled_from(list(SERVICES)), st.sampled_from(ADDRESSES), recipients, st.sampled_from(Action))
def test_any_role_any_service_any_mail_and_any_action(
    role: list[Row], service: str, sender: str, to: list[str], action: Action
) -> None:
    assert sends(principal(role), service, sender, to) == may_send(role, service, sender, to)
    assert allows(principal(role), action, SERVICES[service]) == may(role, action, service)


@given(roles, st.sampled_from(ADDRESSES), recipients)
def test_each_recipient_is_judged_by_itself_and_one_forbids_the_mail(
    role: list[Row], sender: str, to: list[str]
) -> None:
    named = tuple((("to", str(number), "email"), email) for number, email in enumerate(to))
    broken = violations(principal(role), SERVICES["news"], AskedMail(sender, named))
    if any(violation.rule is MailRule.NOT_GRANTED for violation in broken):
        assert [violation.field for violation in broken] == [()]
        return
    alone = [row.__class__(row.service, row.actions, (), (), row.recipients, row.not_recipients) for row in role]
    expected = {path for path, email in named if not may_send(alone, "news", "bob@b.example", [email])}
    assert {violation.field for violation in broken} - {("from_email",)} == expected


restrictions = st.builds(
    Restrictions,
    lists,
    lists,
    st.just(()) | lists,
    st.just(()) | lists,
    st.sampled_from([(), (), (UUID(int=5),)]),
    st.none() | st.sampled_from(PATTERNS),
)
addresses = st.sampled_from([None, "", "no address", *ADDRESSES])
mails = st.builds(
    AskedMail,
    addresses,
    st.lists(st.sampled_from(["no address", *ADDRESSES]).map(lambda email: (("to",), email)), max_size=3).map(tuple),
    addresses,
    st.sampled_from([None, UUID(int=5), UUID(int=6)]),
    own_content=st.sampled_from([(), (("text",),)]),
    own_fields=st.sampled_from([(), (("to",),)]),
)


@given(restrictions, mails)
def test_mail_of_an_author_who_passes_breaks_no_rule_whatever_else_it_is(rules: Restrictions, mail: AskedMail) -> None:
    who = Principal(UUID(int=1000), "mailer", UUID(int=1001), "laptop", (GrantRule(None, frozenset(Action), rules),))
    passes, broken = lets_author_pass(rules, mail.sender, mail.reply_to), violations(who, UUID(int=1), mail)
    assert not (passes and broken)
    if not (rules.templates or rules.allowed_recipients or rules.denied_recipients):
        assert passes is not bool(broken)
