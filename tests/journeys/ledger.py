"""What an SMTP server took, without the contents: enough to say what was lost and what was doubled."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.inbox.receiver import ReceivedMail

PATIENCE = 120

_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(<[^<>\r\n]+>)\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Copy:
    """One arrival of a mail: which process sent it (its EHLO name), and when it was taken, in seconds of the loop."""

    message_id: str
    sender: str
    taken_at: float


class Ledger:
    """Every copy of every mail, by its only recipient. `take` is a receiver's `on_mail`."""

    def __init__(self) -> None:
        self.copies: dict[str, list[Copy]] = {}
        self._changed = asyncio.Condition()

    async def take(self, mail: ReceivedMail) -> None:
        """Write the mail down; its receiver says 250 when this returns."""
        (recipient,) = mail.recipients
        header_section = mail.content.partition(b"\r\n\r\n")[0] + b"\r\n"
        (message_id,) = _MESSAGE_ID.findall(header_section)
        copy = Copy(message_id.decode(), mail.ehlo_name, asyncio.get_running_loop().time())
        async with self._changed:
            self.copies.setdefault(recipient, []).append(copy)
            self._changed.notify_all()

    async def wait_for(self, mails: int) -> None:
        """Wait until so many different mails have arrived. TimeoutError after PATIENCE seconds without a new one."""
        async with self._changed:
            while (arrived := len(self.copies)) < mails:
                async with asyncio.timeout(PATIENCE):
                    await self._changed.wait_for(lambda: len(self.copies) > arrived)


def senders(copies: Mapping[str, Sequence[Copy]]) -> Counter[str]:
    """How many of the copies each process sent."""
    return Counter(copy.sender for of_one in copies.values() for copy in of_one)
