"""THE use case behind both doors: Draft in, Receipt or refusal out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from msgspec import structs

from app.access.client_address import client_subject
from app.access.known_keys import KnownKeys
from app.access.mail_policy import require_mail
from app.access.principal import Principal
from app.access.quota import Quota, quotas_of
from app.clock import now
from app.database.key import new_key
from app.database.revision import Outdated, read_revision
from app.domains.signing import ContentSigner
from app.errors import InvalidInput, Refusal, TooLarge
from app.mail.draft import Draft
from app.outbound.fetch import Fetcher
from app.queue.acceptance import Acceptance
from app.queue.content import in_storage
from app.queue.engine import Engine
from app.queue.put import Idempotency, NewMessage, Receipt, find_receipt
from app.queue.wakeup import Arrival, Wakeup
from app.services.environment import check_default_sender
from app.services.models import Service
from app.services.secret import address_secret
from app.settings import Settings
from app.submission.digest import digest_request, key_of_page
from app.submission.effort import at_once_if_little
from app.submission.links import attach_links
from app.submission.permission import permitted_fallbacks, permitted_template
from app.submission.permit import KnownAuthor, Permit, Permits
from app.submission.prepare import Prepared, Preparer, Submission
from app.submission.preview import Preview, Previewer
from app.templates.content import UsedTemplate

MAX_IDEMPOTENCY_KEY_CHARS = 256


class Submitter:
    """Submits mail for the doors of one process. Raises SettingsError if MAIL_FROM_* cannot stand in a mail.

    `make_key` and `clock` give each mail its key, and with that its Message-ID, and its Date. `signer`: for previews.
    `keys` are those that the doors ask who sends.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        wakeup: Wakeup,
        make_key: Callable[[], UUID] = new_key,
        clock: Callable[[], datetime] = now,
        signer: ContentSigner | None = None,
    ) -> None:
        check_default_sender(settings)
        self._settings = settings
        self._acceptance = Acceptance(engine, wakeup, settings.accept_batch, settings.accept_lanes)
        self._wakeup = wakeup
        self._make_key = make_key
        self._clock = clock
        self._fetcher = Fetcher(settings)
        self._preparer = Preparer(settings)
        self._permits = Permits(settings)
        self.keys = KnownKeys(settings.cache_entries, settings.api_key_use_interval)
        self._previewer = Previewer(settings, self._preparer, self._fetcher, make_key, clock, signer)

    async def preview(self, submission: Submission) -> Preview:
        """What `submit` would make of the mail; nothing is stored, counted or sent. See Previewer."""
        return await self._previewer.preview(submission)

    async def submit(self, submission: Submission) -> Receipt:
        """Accept the mail durably, or raise a Refusal that names everything that is wrong; nothing in between.

        Forbidden, NotFound, Conflict, InvalidInput, TooLarge: as the guard steps below say; RateLimited: as put does. A
        problem's field is the path as the Draft or the Schedule names it, `service` or `idempotency_key`:
        ("from_email",), ("attachments", "0", "content").

        The principal, and the service, may be outdated: then the answer is that to who the principal is now, and
        Unauthenticated where the API key opens nothing any more.
        """
        while True:
            principal = submission.principal
            try:
                return await self._submit(submission)
            except Outdated:
                principal = await self.keys.renew(principal)
            except Refusal:
                principal = await self.keys.confirm(principal)
                if principal is submission.principal:
                    raise
            submission = structs.replace(submission, principal=principal)

    async def _submit(self, submission: Submission) -> Receipt:
        principal = submission.principal
        permit = await self._permits.permit(principal, submission.service_name)
        service = permit.service
        is_shown = principal.browser is None
        if not is_shown:
            _check_values_of_page(submission.draft, self._settings.max_browser_message_bytes)
        awaited = submission.verdict_wanted and not service.respond_async and is_shown
        moment = self._clock()
        idempotency = None
        if submission.idempotency_key is not None:
            idempotency = await self._idempotency(submission, submission.idempotency_key, moment)
            earlier = await find_receipt(principal.role_id, idempotency)
            if earlier is not None:
                await _refuse_outdated(principal)
                return replace(earlier, verdict_awaited=awaited, is_shown=is_shown)
        template = await permitted_template(submission.draft, principal, service.id)
        applied = self._preparer.apply(submission, permit.rules, template)
        known = self._permits.author(permit, applied.draft)
        fallbacks: tuple[UUID, ...] = ()
        if service.fallbacks or not known.passes:
            fallbacks = await self._fallbacks(submission, applied, permit, known, template)
        draft, submission = applied.draft, applied
        if draft.links:
            draft = await attach_links(draft, self._fetcher, self._settings.max_attachments)
            submission = structs.replace(applied, draft=draft)
        key = submission.key or self._make_key()
        asked = (submission, known.author, template, key, moment)
        prepared = await at_once_if_little(draft, self._preparer.prepare, *asked)
        message = _new_message(
            key,
            submission,
            service,
            prepared,
            template=template,
            idempotency=idempotency,
            verdict_awaited=awaited,
            quotas=self._quotas(permit, principal),
            fallbacks=fallbacks,
        )
        if isinstance(prepared.content, bytes):
            receipt = await self._put(message, principal, service)
        else:
            async with in_storage(prepared.content, self._settings.content_slice_bytes) as sliced:
                receipt = await self._put(structs.replace(message, content=sliced), principal, service)
        self._tell_engine(receipt.accepted)
        receipt.verdict_awaited, receipt.is_shown = awaited, is_shown
        return receipt

    def _tell_engine(self, accepted: NewMessage | None) -> None:
        if accepted is None or accepted.fallbacks or accepted.schedule.send_at is not None:
            self._wakeup.work_arrived()
        else:
            self._wakeup.mail_arrived(Arrival(accepted.id, accepted.service_id))

    async def _put(self, message: NewMessage, principal: Principal, service: Service) -> Receipt:
        """At the revision of now, where what was changed meanwhile is nothing to this mail; else raises Outdated."""
        while True:
            try:
                return await self._acceptance.put(message)
            except Outdated:
                before, principal = principal, await self.keys.renew(principal)
                revision = principal.revision or 0
                if principal != before or not await self._permits.is_same(service, revision):
                    raise
                message = structs.replace(message, revision=revision)

    def quotas(self, principal: Principal, service_id: UUID | None, service_name: str = "") -> tuple[Quota, ...]:
        """What limits the principal's mail through this service; None: through any service."""
        client = None
        if principal.browser is not None:
            prefix = self._settings.client_ipv6_prefix
            client = client_subject(self._address_secret, principal.api_key_id, principal.origin, prefix)
        return quotas_of(principal, service_id, service_name, client)

    def _quotas(self, permit: Permit, principal: Principal) -> tuple[Quota, ...]:
        if permit.quotas is not None:
            return permit.quotas
        return self.quotas(principal, permit.service.id, permit.service.name)

    @cached_property
    def _address_secret(self) -> bytes:
        return address_secret(self._settings)

    async def _fallbacks(
        self, given: Submission, applied: Submission, permit: Permit, known: KnownAuthor, template: UsedTemplate | None
    ) -> tuple[UUID, ...]:
        """Those by which the mail may leave, if it may be sent at all. The role is asked before any file is fetched for
        it. Raises Forbidden."""
        service, principal = permit.service, given.principal
        may_divert = bool(service.fallbacks) and given.with_fallbacks
        if not may_divert and known.passes:
            return ()
        mail = self._preparer.asked(given, applied, known.author, template)
        await at_once_if_little(applied.draft, require_mail, principal, service.id, mail)
        if not may_divert:
            return ()
        return await at_once_if_little(applied.draft, permitted_fallbacks, principal, service, mail)

    async def _idempotency(self, submission: Submission, key: str, moment: datetime) -> Idempotency:
        if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS or not key.isprintable():
            raise InvalidInput(
                f"An idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable characters.",
                field=("idempotency_key",),
            )
        asked = (submission.service_name, submission.draft, submission.schedule, submission.on_doubt)
        digest = await at_once_if_little(submission.draft, digest_request, *asked)
        stored = key_of_page(submission.principal, key) if submission.principal.browser else key
        return Idempotency(stored, digest, moment - timedelta(seconds=self._settings.idempotency_ttl), named=key)


async def _refuse_outdated(principal: Principal) -> None:
    if principal.revision is not None and await read_revision() != principal.revision:
        raise Outdated


def _check_values_of_page(draft: Draft, most: int) -> None:
    """Raises TooLarge before time is spent on them: everybody may ask, and what is refused counts in no rate limit."""
    values = (*draft.template_data.values(), *draft.variables.values())
    size = sum(len(value) for value in values if isinstance(value, str))
    if size > most:
        message = f"The values for placeholders have {size} characters; the limit is {most}."
        raise TooLarge(message, field=("template_data",))


def _new_message(
    key: UUID,
    submission: Submission,
    service: Service,
    prepared: Prepared,
    *,
    template: UsedTemplate | None,
    idempotency: Idempotency | None,
    verdict_awaited: bool,
    quotas: Sequence[Quota],
    fallbacks: Sequence[UUID],
) -> NewMessage:
    """Without its content, where that is large: the slices of that are to be stored first."""
    principal, envelope, draft = submission.principal, prepared.envelope, submission.draft
    return NewMessage(  # by their place: by name, so many fields take several times as long
        key,
        service.id,
        service.name,
        principal.role_id,
        principal.api_key_id,
        prepared.message_id_header,
        envelope.reverse_path,
        envelope.smtputf8,
        prepared.sender,
        prepared.draft.subject,
        prepared.recipients,
        prepared.content if isinstance(prepared.content, bytes) else b"",
        template,
        draft.metadata,
        draft.tags,
        submission.schedule,
        submission.on_doubt,
        verdict_awaited,
        idempotency,
        quotas,
        fallbacks,
        principal.revision,
    )
