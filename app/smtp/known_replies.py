"""Replies that came before: the same few come again and again, line by line and group by group."""

from app.mail.reply import Reply

_MOST = 32
_LONGEST = 4096


class KnownReplies:
    """Those of one session, `of_line` by what came: one line that is a whole reply, and does not end the session."""

    def __init__(self) -> None:
        self.of_line: dict[bytes, Reply] = {}
        self._acceptances: dict[bytes, int] = {}

    def learn(self, line: bytes, reply: Reply) -> None:
        """Remember what this line says, if there is one, and room for more."""
        if line and len(self.of_line) < _MOST:
            self.of_line[line] = reply

    def clear(self) -> None:
        """Forget all of them."""
        self.of_line.clear()
        self._acceptances.clear()

    def count_acceptance(self, octets: bytes) -> int:
        """How many replies the octets are, where they are whole, each is known, the last one accepts DATA and those
        before it MAIL and RCPT; 0: something else."""
        count = self._acceptances.get(octets)
        if count is None:
            count = self._count(octets)
            if count and len(octets) <= _LONGEST and len(self._acceptances) < _MOST:
                self._acceptances[octets] = count
        return count

    def _count(self, octets: bytes) -> int:
        digits = []
        for line in octets.splitlines(keepends=True):
            reply = self.of_line.get(line)
            if reply is None:
                return 0
            digits.append(reply.code // 100)
        return len(digits) if digits == [2] * (len(digits) - 1) + [3] else 0
