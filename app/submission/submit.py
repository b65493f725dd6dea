"""THE use case behind both doors: Draft in, Receipt or refusal out."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from app.access.mail_policy import require_mail, restrictions
from app.access.quota import quotas_of
from app.access.restrictions import NO_RESTRICTIONS
from app.clock import now
from app.database.finish import finish
from app.database.key import new_key
from app.errors import InvalidInput
from app.outbound.fetch import Fetcher
from app.queue.engine import Engine
from app.queue.put import Idempotency, NewMessage, Receipt, find_receipt, put
from app.queue.wakeup import Wakeup
from app.services.environment import check_default_sender
from app.services.models import Service
from app.settings import Settings
from app.submission.digest import digest_request
from app.submission.links import attach_links
from app.submission.permission import permitted_template
from app.submission.prepare import Prepared, Preparer, Submission, permitted_service
from app.submission.preview import Preview, Previewer
from app.templates.content import UsedTemplate

MAX_IDEMPOTENCY_KEY_CHARS = 256


class Submitter:
    """Submits mail for the doors of one process. Raises SettingsError if MAIL_FROM_* cannot stand in a mail.

    `make_key` and `clock` give each mail its key, and with that its Message-ID, and its Date.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        wakeup: Wakeup,
        make_key: Callable[[], UUID] = new_key,
        clock: Callable[[], datetime] = now,
    ) -> None:
        check_default_sender(settings)
        self._settings = settings
        self._engine = engine
        self._wakeup = wakeup
        self._make_key = make_key
        self._clock = clock
        self._fetcher = Fetcher(settings)
        self._preparer = Preparer(settings)
        self._previewer = Previewer(settings, self._preparer, self._fetcher, make_key, clock)

    async def preview(self, submission: Submission) -> Preview:
        """What `submit` would make of the mail; nothing is stored, counted or sent. See Previewer."""
        return await self._previewer.preview(submission)

    async def submit(self, submission: Submission) -> Receipt:
        """Accept the mail durably, or raise a Refusal that names everything that is wrong; nothing in between.

        Forbidden, NotFound, Conflict, InvalidInput, TooLarge: as the guard steps below say; RateLimited: as put does. A
        problem's field is the path as the Draft or the Schedule names it, `service` or `idempotency_key`:
        ("from_email",), ("attachments", "0", "content").
        """
        service = await permitted_service(submission.service_name, submission.principal)
        awaited = submission.verdict_wanted and not service.respond_async
        moment = self._clock()
        idempotency = await self._idempotency(submission, moment)
        if idempotency is not None:
            earlier = await find_receipt(submission.principal.role_id, idempotency)
            if earlier is not None:
                return replace(earlier, verdict_awaited=awaited)
        template = await permitted_template(submission.draft, submission.principal, service.id)
        submission = await self._permitted_mail(submission, service, template)
        draft = await attach_links(submission.draft, self._fetcher, self._settings.max_attachments)
        submission = replace(submission, draft=draft)
        key = self._make_key()
        prepared = await asyncio.to_thread(self._preparer.prepare, submission, service, template, key, moment)
        message = _new_message(key, submission, service, prepared, template, idempotency)
        message = replace(message, verdict_awaited=awaited)
        receipt = await finish(put(message, now(), self._engine))
        self._wakeup.work_arrived()
        return replace(receipt, verdict_awaited=awaited)

    async def _permitted_mail(
        self, submission: Submission, service: Service, template: UsedTemplate | None
    ) -> Submission:
        """With what comes from the template filled in. The role is asked before any file is fetched for the mail."""
        applied, mail = self._preparer.apply(submission, service, template)
        if restrictions(submission.principal, service.id) != NO_RESTRICTIONS:
            await asyncio.to_thread(require_mail, submission.principal, service.id, mail)
        return applied

    async def _idempotency(self, submission: Submission, moment: datetime) -> Idempotency | None:
        key = submission.idempotency_key
        if key is None:
            return None
        if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS or not key.isprintable():
            raise InvalidInput(
                f"An idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable characters.",
                field=("idempotency_key",),
            )
        digest = await asyncio.to_thread(
            digest_request, submission.service_name, submission.draft, submission.schedule, submission.on_doubt
        )
        return Idempotency(key, digest, moment - timedelta(seconds=self._settings.idempotency_ttl))


def _new_message(
    key: UUID,
    submission: Submission,
    service: Service,
    prepared: Prepared,
    template: UsedTemplate | None,
    idempotency: Idempotency | None,
) -> NewMessage:
    return NewMessage(
        id=key,
        service_id=service.id,
        service_name=service.name,
        role_id=submission.principal.role_id,
        api_key_id=submission.principal.api_key_id,
        message_id_header=prepared.message_id_header,
        reverse_path=prepared.envelope.reverse_path,
        smtputf8=prepared.envelope.smtputf8,
        sender=prepared.sender,
        subject=prepared.draft.subject,
        recipients=prepared.recipients,
        content=prepared.content,
        template=template,
        metadata=submission.draft.metadata,
        tags=submission.draft.tags,
        schedule=submission.schedule,
        on_doubt=submission.on_doubt,
        idempotency=idempotency,
        quotas=quotas_of(submission.principal, service.id, service.name),
    )
