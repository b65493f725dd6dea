"""Access tokens for services: cached for all workers, requested by one of them at a time."""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from app import clock
from app.database.connection import execute, rows
from app.database.finish import finish
from app.database.key import new_key, public_id
from app.outbound.form import Answer, Unanswered, post_form
from app.outbound.resolve import Resolve, resolve_host
from app.outbound.smtp import smtp_guard
from app.services.access_token import StoredToken, end_lease, keep_token, read_token, take_lease
from app.services.models import Service
from app.services.oauth2 import OAuth2Grant, OAuth2Values, endpoint_problem, token_request
from app.services.sealed_columns import ACCESS_TOKEN, bound_to
from app.services.secret import Sealer, SealError
from app.settings import Settings
from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import AccessToken

logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,16384}=*")  # RFC 6750 section 2.1
_ERROR = re.compile(r"[A-Za-z0-9_-]{1,40}")
_FOR_NOW = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_MICROSOFT_CODE = re.compile(r"AADSTS[0-9]{4,10}")
_LONGEST = 24 * 3600.0  # seconds; what is good for longer is renewed all the same


@dataclass(frozen=True, slots=True)
class _Issued:
    """What the endpoint gave; `refresh_token` where it replaced that, too."""

    token: str = field(repr=False)
    seconds: float
    refresh_token: str | None = field(repr=False)


class Tokens:
    """Gives the services of one process their access tokens."""

    def __init__(
        self,
        settings: Settings,
        sealer: Sealer,
        *,
        resolve: Resolve = resolve_host,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._settings = settings
        self._sealer = sealer
        self._resolve = resolve
        self._now = now

    async def obtain(self, service_id: UUID, refused: str | None = None) -> AccessToken:
        """A token that is not `refused`, which is one that the SMTP server does not take any more.

        Of all who ask at the same time, in all processes, one requests it; the others wait, or take the old one while
        that is good. Raises SmtpFailure: of AUTH where the endpoint refuses, of CONNECT where it cannot be had now.
        """
        while True:
            stored = await read_token(service_id)
            token = self._opened(service_id, stored, refused)
            if token is not None and stored.refresh_at is not None and self._now() < stored.refresh_at:
                return AccessToken(token, is_fresh=False)
            owner = new_key()
            # Twice the time-out: who holds it has failed by then, or died.
            if await take_lease(service_id, stored, owner, self._now(), 2 * self._settings.oauth2_timeout):
                return await self._replaced(service_id, stored, token, owner)
            if token is not None:
                return AccessToken(token, is_fresh=False)
            await asyncio.sleep(self._settings.oauth2_poll)

    def _opened(self, service_id: UUID, stored: StoredToken, refused: str | None) -> str | None:
        """The stored token, if it is good."""
        if stored.sealed is None or stored.expires_at is None or stored.expires_at <= self._now():
            return None
        try:
            token = self._sealer.open(stored.sealed, bound_to(service_id, ACCESS_TOKEN))
        except SealError:  # sealed with a key that is gone by now: another one is had without it
            return None
        return token if token != refused else None

    async def _replaced(self, service_id: UUID, stored: StoredToken, token: str | None, owner: UUID) -> AccessToken:
        """A new token, or the old one where none can be had and that is still good."""
        try:
            issued = await self._request(service_id)
        except SmtpFailure as failed:
            later = self._now() + timedelta(seconds=self._settings.circuit_auth_interval)
            await end_lease(service_id, owner, later if token is not None else stored.refresh_at)
            if token is None:
                raise
            logger.warning("service %s: no new access token. %s", public_id("svc", service_id), failed.failure.message)
            return AccessToken(token, is_fresh=False)
        except BaseException:
            await finish(end_lease(service_id, owner, stored.refresh_at))
            raise
        await finish(keep_token(service_id, owner, self._to_store(service_id, issued)))
        return AccessToken(issued.token, is_fresh=True)

    def _to_store(self, service_id: UUID, issued: _Issued) -> StoredToken:
        moment, margin = self._now(), self._settings.oauth2_refresh_margin
        return StoredToken(
            self._sealer.seal(issued.token, bound_to(service_id, ACCESS_TOKEN)),
            moment + timedelta(seconds=max(issued.seconds - margin, issued.seconds / 2)),
            moment + timedelta(seconds=issued.seconds),
        )

    async def _request(self, service_id: UUID) -> _Issued:
        service = await Service.get(id=service_id)
        values = self._values(service)
        endpoint = _endpoint(values, self._settings)
        host = urlsplit(endpoint).hostname or endpoint
        if endpoint_problem(endpoint, smtp_guard(self._settings)) is not None:
            raise _refused(host, "its URL begins neither with https://, nor leads to a loopback that is permitted")
        try:
            fields = token_request(values, service.username or "", endpoint, self._now())
        except ValueError:
            raise _refused(host, "the private key cannot sign") from None
        issued = self._issued(host, await self._post(endpoint, host, fields))
        if issued.refresh_token is not None and issued.refresh_token != values.refresh_token:
            await finish(self._keep_refresh_token(service_id, values.refresh_token, issued.refresh_token))
        return issued

    def _values(self, service: Service) -> OAuth2Values:
        if service.oauth2_grant is None or service.oauth2_client_id is None:
            raise _failed(Phase.AUTH, Cause.AUTHENTICATION, "Authentication failed: oauth2 was taken away.")
        return OAuth2Values(
            grant=service.oauth2_grant,
            client_id=service.oauth2_client_id,
            tenant=service.oauth2_tenant,
            scope=service.oauth2_scope,
            token_endpoint=service.oauth2_token_endpoint,
            client_secret=self._secret(service, "sealed_client_secret"),
            refresh_token=self._secret(service, "sealed_refresh_token"),
            private_key=self._secret(service, "sealed_private_key"),
        )

    def _secret(self, service: Service, column: str) -> str | None:
        sealed = getattr(service, column)
        try:
            return None if sealed is None else self._sealer.open(sealed, bound_to(service.id, column))
        except SealError:
            message = "Authentication failed: a stored secret cannot be unsealed with the configured keys."
            raise _failed(Phase.AUTH, Cause.AUTHENTICATION, message) from None

    async def _post(self, endpoint: str, host: str, fields: dict[str, str]) -> Answer:
        settings = self._settings
        try:
            answer = await post_form(
                endpoint,
                fields,
                settings,
                seconds=settings.oauth2_timeout,
                most_bytes=settings.oauth2_max_answer_bytes,
                resolve=self._resolve,
            )
        except Unanswered as unanswered:
            raise _unavailable(host, str(unanswered)) from None
        if answer.is_temporary:
            raise _unavailable(host, f"answers with status {answer.status}")
        return answer

    def _issued(self, host: str, answer: Answer) -> _Issued:
        told = _object(answer.body)
        token, seconds = told.get("access_token"), told.get("expires_in")
        if answer.status != HTTPStatus.OK:
            raise _refusal(host, answer.status, told)
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or str(told.get("token_type")).lower() != "bearer":
            raise _unavailable(host, "answers with no access token")
        renewed = told.get("refresh_token")
        return _Issued(token, self._lifetime(seconds), renewed if isinstance(renewed, str) and renewed else None)

    def _lifetime(self, told: object) -> float:
        """Where the endpoint does not say, it is renewed soon."""
        try:
            seconds = float(str(told))
        except ValueError:
            return self._settings.oauth2_refresh_margin
        return min(seconds, _LONGEST) if seconds > 0 else self._settings.oauth2_refresh_margin

    async def _keep_refresh_token(self, service_id: UUID, used: str | None, renewed: str) -> None:
        """Store it in place of the one that was used, whoever seals that anew meanwhile; not in place of another."""
        row = bound_to(service_id, "sealed_refresh_token")
        while found := await rows("SELECT sealed_refresh_token AS sealed FROM service WHERE id = $1", service_id):
            sealed = found[0]["sealed"]
            if sealed is None or not self._is(sealed, row, used):
                return
            if await execute(
                "UPDATE service SET sealed_refresh_token = $3 WHERE id = $1 AND sealed_refresh_token = $2",
                service_id,
                sealed,
                self._sealer.seal(renewed, row),
            ):
                return

    def _is(self, sealed: str, row: UUID, text: str | None) -> bool:
        try:
            return self._sealer.open(sealed, row) == text
        except SealError:  # sealed anew meanwhile, with a key that this process does not have
            return False


def _endpoint(values: OAuth2Values, settings: Settings) -> str:
    if values.token_endpoint:
        return values.token_endpoint
    if OAuth2Grant(values.grant).is_microsoft:
        return settings.oauth2_microsoft_endpoint.replace("{tenant}", values.tenant or "common")
    return settings.oauth2_google_endpoint


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _refusal(host: str, status: int, told: dict[str, Any]) -> SmtpFailure:
    """What the endpoint says against the request: its codes alone, as its sentences may repeat what it was sent."""
    error, description = str(told.get("error", "")), str(told.get("error_description", ""))
    if not _ERROR.fullmatch(error) or error in _FOR_NOW:
        return _unavailable(host, f"answers with status {status}")
    microsoft = _MICROSOFT_CODE.search(description)
    return _refused(host, f"{error}, {microsoft[0]}" if microsoft else error)


def _refused(host: str, reason: str) -> SmtpFailure:
    message = f"Authentication failed: no access token from {host} ({reason})."
    return _failed(Phase.AUTH, Cause.AUTHENTICATION, message)


def _unavailable(host: str, reason: str) -> SmtpFailure:
    message = f"Connection refused: no access token can be had now, {host} {reason}."
    return _failed(Phase.CONNECT, Cause.CONNECTION_REFUSED, message)


def _failed(phase: Phase, cause: Cause, message: str) -> SmtpFailure:
    return SmtpFailure(Failure(phase, cause, message))
