"""`POST /api/v2/{service}`: submit, wait for the verdict, answer as DreamFactory's connector did."""

import asyncio
import logging
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.access.offered_key import key_among
from app.access.web_origin import offered_origin
from app.answer import EncodedResponse, Fields, Names, answer
from app.database.connection import is_transient
from app.database.key import public_id
from app.errors import Refusal, accepted_unseen
from app.indexed import first_fields
from app.queue.lookup import StoredRecipient, list_recipients
from app.queue.put import Receipt
from app.queue.states import SETTLED, MessageState, RecipientState
from app.rest.errors import LIMIT_NAMES, error_response, limit_values
from app.rest.request_body import read_request_draft
from app.settings import Settings
from app.submission.prepare import Submission
from app.submission.submit import Submitter
from app.submission.unseen import tell_accepted
from app.submission.verdict import VerdictWaiter

logger = logging.getLogger(__name__)

_WAITING = frozenset({MessageState.QUEUED, MessageState.SENDING, MessageState.DEFERRED, MessageState.HELD})
_SENT = frozenset({MessageState.SENT, MessageState.PARTIALLY_SENT})
_LOST = SETTLED - {RecipientState.SENT}
_STATED = (b"content-type", b"x-message-status")
_TOLD = (b"x-message-id", *LIMIT_NAMES)


class Sender:
    """Answers the route. One rule holds: a 500 means nothing will be sent later, a 200 means sent or durably queued."""

    def __init__(self, settings: Settings, submitter: Submitter, waiter: VerdictWaiter) -> None:
        self._settings = settings
        self._submitter = submitter
        self._waiter = waiter
        self._ending: set[asyncio.Task[None]] = set()

    async def send(self, request: Request) -> Response:
        """Raises a Refusal; what the SMTP server said is answered here, whatever it was."""
        scope = request.scope
        fields = first_fields(scope)
        if scope["method"] != "POST":
            message = f"The method {request.method} is not supported; use POST."
            return error_response(405, message, headers={"Allow": "POST"})
        principal = await self._submitter.keys.authenticate(
            key_among(fields, request.query_params.get("api_key") if scope["query_string"] else None),
            origin=scope["client"][0] if scope.get("client") else None,
            page_origin=offered_origin(request.headers) if b"origin" in fields else None,
        )
        try:
            draft = await read_request_draft(request, self._settings)
        except Refusal:
            await self._submitter.keys.confirm(principal)  # who asks with a key that is revoked is told nothing else
            raise
        at_once = b"prefer" in fields and _prefers_async(fields[b"prefer"], request)
        key = request.headers["idempotency-key"] if b"idempotency-key" in fields else None
        service_name = scope["path_params"]["service"]
        receipt = await self._submitter.submit(Submission(service_name, draft, principal, key, not at_once))
        try:
            return _preferred(await self._answer(receipt), at_once)
        except Exception as error:
            # The mail is accepted: whatever went wrong now, a 500 would say that nothing will be sent.
            self._stop_awaiting(receipt.message_id)
            return _accepted_unseen(receipt, tell_accepted(receipt, error))
        except asyncio.CancelledError:  # the server ends
            return _accepted_unseen(receipt, accepted_unseen(public_id("msg", receipt.message_id)))

    async def _answer(self, receipt: Receipt) -> Response:
        at_once = not receipt.verdict_awaited
        if not receipt.is_shown or (at_once and not receipt.replayed):
            # Of what is not for everybody to read, how many recipients it has is all that is told.
            put = receipt.accepted
            count = len(put.recipients if put else await _recipients(receipt.message_id))
            return _accepted(receipt, count, b"queued", 202)
        # A replay that does not wait ends the wait of the first request, so that its "queued" stays true as well.
        state = await self._waiter.wait_and_end(receipt.message_id, 0 if at_once else self._settings.verdict_wait)
        recipients = await _recipients(receipt.message_id)
        if state in _WAITING:
            return _accepted(receipt, _not_lost(recipients), b"queued", 202 if at_once else 200)
        if state in _SENT:
            return _accepted(receipt, _not_lost(recipients), b"sent", 200)
        return _failed(receipt, recipients)

    def _stop_awaiting(self, message_id: UUID) -> None:
        """Write down, as soon as the database takes it, that nobody waits: until then a fault of the service would
        fail the mail, and its author has no answer that says so."""
        ending = asyncio.create_task(self._end_wait(message_id))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _end_wait(self, message_id: UUID) -> None:
        while True:
            try:
                await self._waiter.wait_and_end(message_id, 0)
                return
            except Exception as error:
                if not is_transient(error):
                    logger.exception("message %s: its wait cannot be ended", public_id("msg", message_id))
                    return
            await asyncio.sleep(self._settings.wait_poll)


def _prefers_async(first: bytes, request: Request) -> bool:
    """By the request's Prefer fields (RFC 7240 section 4.1), of which this is the first."""
    if first == b"respond-async":
        return True
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def _preferred(response: Response, at_once: bool) -> Response:
    """RFC 7240 section 3: the client is told that it got the answer at once that it preferred."""
    if at_once and response.status_code == 202 and isinstance(response, EncodedResponse):
        response.header.add(b"preference-applied", b"respond-async")
    return response


async def _recipients(message_id: UUID) -> list[StoredRecipient]:
    return (await list_recipients([message_id]))[message_id]


def _not_lost(recipients: list[StoredRecipient]) -> int:
    return sum(recipient.state not in _LOST for recipient in recipients)


def _accepted(receipt: Receipt, count: int, word: bytes, status: int) -> Response:
    names, values = _header(receipt)
    return answer(b'{"count":%d}' % count, status, (*_STATED, *names), (b"application/json", word, *values))


def _accepted_unseen(receipt: Receipt, message: str) -> JSONResponse:
    return error_response(503, message, {"retryable": False}, fields=_fields(receipt))


def _failed(receipt: Receipt, recipients: list[StoredRecipient]) -> JSONResponse:
    first = recipients[0]
    context: dict[str, object] = {"retryable": False}
    if first.reply is None:
        message = first.detail or f"The mail was {first.state.value}."
        return error_response(500, message, context, fields=_fields(receipt))
    context |= {"smtp_code": first.reply.code, "enhanced_code": first.reply.enhanced_code}
    message = first.detail or str(first.reply)
    return error_response(500, message, context, code=first.reply.code, fields=_fields(receipt))


def _fields(receipt: Receipt) -> Fields:
    return list(zip(*_header(receipt), strict=True))


def _header(receipt: Receipt) -> tuple[Names, list[bytes]]:
    values = [public_id("msg", receipt.message_id).encode()]
    if (tightest := receipt.tightest) is not None:
        values += limit_values(tightest.limit, tightest.remaining, tightest.reset_at)
    names = _TOLD[: len(values)]
    if receipt.replayed:
        names, values = (*names, b"idempotent-replayed"), [*values, b"true"]
    return names, values
