"""Groups of replies that came before: taken at one look, they mean what they mean one by one."""

import re

from hypothesis import given
from hypothesis import strategies as st

from app.mail.reply import Reply
from app.smtp.known_replies import KnownReplies

LINES = [b"250 ok\r\n", b"251 forwarded\r\n", b"354 go on\r\n", b"250 bare\n", b"250 a\rb\r\n", b"550 no\r\n"]
OTHERS = [b"250-more\r\n", b"421 bye\r\n", b"250 unknown\r\n", b"what?\r\n", b"\r\n", b"250 cut", b"\r", b""]


def known() -> KnownReplies:
    replies = KnownReplies()
    for line in LINES:
        replies.learn(line, Reply(int(line[:3]), line[4:].strip().decode()))
    return replies


def one_by_one(octets: bytes) -> int:
    """How many replies there are, where MAIL, RCPT and DATA are accepted by them."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", octets)
    if not all(line in LINES for line in lines):
        return 0
    codes = [int(line[:3]) // 100 for line in lines]
    return len(codes) if codes and codes[-1] == 3 and set(codes[:-1]) <= {2} else 0


@given(st.lists(st.lists(st.sampled_from(LINES + OTHERS), max_size=5).map(b"".join), max_size=4))
def test_a_group_is_accepted_by_the_same_replies_as_one_by_one(groups: list[bytes]) -> None:
    replies = known()
    for octets in groups * 2:
        told, meant = replies.count_acceptance(octets), one_by_one(octets)
        assert told == meant or (told == 0 and b"\rb" in octets), "what has a lone CR in it is left to the general way"


def test_what_was_known_of_another_session_is_forgotten() -> None:
    replies = known()
    assert replies.count_acceptance(b"250 ok\r\n250 ok\r\n354 go on\r\n") == 3
    replies.clear()
    assert replies.count_acceptance(b"250 ok\r\n250 ok\r\n354 go on\r\n") == 0


def test_only_so_many_are_remembered() -> None:
    replies = known()
    for number in range(100):
        replies.learn(b"250 %d\r\n" % number, Reply(250, str(number)))
    assert len(replies.of_line) == 32
    for count in range(1, 600):
        assert replies.count_acceptance(b"250 ok\r\n" * count + b"354 go on\r\n") == count + 1
