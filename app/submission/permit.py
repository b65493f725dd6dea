"""What a principal may do with a service, worked out once for all mail until somebody changes the facts."""

from dataclasses import dataclass, field

from app.access.mail_policy import lets_author_pass, restrictions
from app.access.principal import Principal
from app.access.quota import Quota, quotas_of
from app.access.restrictions import Restrictions
from app.database.revision import Kept
from app.mail.check import is_sound_author
from app.mail.draft import Draft, DraftLimits
from app.services.known_services import KnownServices
from app.services.models import Service
from app.settings import Settings
from app.submission.author import Author, resolve_author
from app.submission.prepare import permitted_service

_MOST_CHARS_OF_AUTHOR = 1024


@dataclass(slots=True, eq=False)
class Permit:
    """The principal may send with this service, which is active. `rules`: those that its mail is held to; `quotas`:
    what limits it, None for a browser key, of which that depends on the client's address."""

    principal: Principal
    service: Service
    rules: Restrictions = field(init=False)
    quotas: tuple[Quota, ...] | None = field(init=False)

    def __post_init__(self) -> None:
        principal, service = self.principal, self.service
        self.rules = restrictions(principal, service.id)
        self.quotas = None if principal.browser else quotas_of(principal, service.id, service.name)

    def is_of(self, principal: Principal) -> bool:
        """Whether it holds for this principal, wherever that asks from."""
        return principal is self.principal or _facts(principal) == _facts(self.principal)


@dataclass(slots=True, eq=False)
class KnownAuthor:
    """An author, and whether mail from there breaks none of the permit's rules, whatever else it is; false: the role
    has to be asked."""

    author: Author
    passes: bool


class Permits:
    """Keeps at most so many, and their authors, as of one revision."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = DraftLimits.of(settings)
        self._services = KnownServices(settings.cache_entries)
        self._kept: Kept[tuple[str, str], Permit] = Kept(settings.cache_entries)
        self._authors: Kept[tuple[Permit | str | None, ...], KnownAuthor] = Kept(settings.cache_entries)

    async def permit(self, principal: Principal, service_name: str) -> Permit:
        """The permit to send with the service of this name, as of the principal's revision, or newer. Raises as
        `permitted_service` does."""
        place, revision = (principal.digest, service_name), principal.revision
        permit = None if revision is None else self._kept.get(place, revision)
        if permit is not None and permit.is_of(principal):
            permit.principal = principal  # who most likely asks next, and is known at once then
            return permit
        permit = Permit(principal, await permitted_service(service_name, principal, self._services))
        if revision is not None:
            self._kept.keep(place, permit, revision)
        return permit

    def author(self, permit: Permit, draft: Draft) -> KnownAuthor:
        """Who the mail is from; most senders send again and again."""
        place = (permit, draft.from_email, draft.from_name, draft.reply_to_email, draft.reply_to_name)
        known = self._authors.get(place)
        if known is None:
            author = resolve_author(draft, permit.service, self._settings)
            if sum([len(text) for text in place[1:] if text]) > _MOST_CHARS_OF_AUTHOR:
                return KnownAuthor(author, passes=False)
            author.is_sound = is_sound_author(draft, self._limits)
            emails = [mailbox.email if mailbox else None for mailbox in (author.sender, author.reply_to)]
            known = KnownAuthor(author, permit.principal.browser is None and lets_author_pass(permit.rules, *emails))
            if permit.principal.revision is not None:
                self._authors.keep(place, known, permit.principal.revision)
        return known

    async def is_same(self, service: Service, revision: int) -> bool:
        """Whether the service is still what it was, as of this revision, or newer."""
        return await self._services.is_same(service, revision)


def _facts(principal: Principal) -> tuple[object, ...]:
    """All that a permit is made of."""
    return (
        principal.role_id,
        principal.role_name,
        principal.api_key_id,
        principal.api_key_name,
        principal.grants,
        principal.role_limits,
        principal.api_key_limits,
        principal.browser,
    )
