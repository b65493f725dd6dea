"""The API keys that one process has seen lately, so that their next requests ask the database nothing."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app import clock
from app.access.authenticate import OpenKey, Shown, flaw_shown, open_key, record_use, shown_digest
from app.access.principal import Principal
from app.access.validity import Terms
from app.database.revision import Kept, read_revision

_UNKNOWN = Terms(False, False, None, None, None, ())


class KnownKeys:
    """Keeps at most so many keys that open something; what is refused is looked up each time, and so in one time.

    The principals may be outdated. Whoever acts on one looks whether the revision is still that of the principal, in
    the transaction that acts; and so does who refuses it something. What time and place say is judged at each use.
    """

    def __init__(self, most: int, record_use_every: float = 60, now: Callable[[], datetime] = clock.now) -> None:
        self._kept: Kept[str, OpenKey] = Kept(most)
        self._interval = timedelta(seconds=record_use_every)
        self._now = now

    def authenticate(
        self, api_key: str | None, *, origin: str | None = None, page_origin: str | None = None
    ) -> Awaitable[Principal]:
        """As the function of this name, but what it says may be outdated."""
        return self._principal(Shown(shown_digest(api_key), origin, page_origin))

    async def confirm(self, principal: Principal) -> Principal:
        """The principal, if it is not outdated; else who it is now. Raises what `authenticate` does."""
        while principal.revision not in (None, await read_revision()):
            principal = await self.renew(principal)
        return principal

    async def renew(self, principal: Principal) -> Principal:
        """Who it is by now, as of another revision, with the same secret from the same place. Raises what
        `authenticate` does."""
        kept = self._kept.get(principal.digest)
        if kept is not None and kept.principal.revision == principal.revision:
            self._kept.forget()
        shown = Shown(principal.digest, principal.origin, principal.page_origin, principal.at_the_machine)
        return await self._principal(shown)

    async def _principal(self, shown: Shown) -> Principal:
        moment, kept = self._now(), self._kept.get(shown.digest)
        # Whether it is kept or not, the same is asked: what is refused takes one time.
        flaw = flaw_shown(kept.terms if kept else _UNKNOWN, shown, moment)
        if kept is None or flaw or not _is_for(kept.principal, shown):
            kept = await open_key(shown, moment)
            self._kept.keep(shown.digest, kept, kept.principal.revision or 0)
        else:
            kept.note()
        if kept.is_use_due(moment, self._interval):
            await record_use(kept, moment, self._interval)
        return kept.principal_of(shown)


def _is_for(principal: Principal, shown: Shown) -> bool:
    return principal.browser is None or shown.page_origin in principal.browser.origins
