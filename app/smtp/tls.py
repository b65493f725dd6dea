"""The TLS context of a server: the system's authorities, and those that it may be trusted by besides."""

import asyncio
import functools
import os
import ssl

from app.smtp.failure import Cause, Failure, Phase, SmtpFailure
from app.smtp.server import Server


async def tls_context(server: Server, wanted: bool) -> ssl.SSLContext | None:
    """The shared TLS context: made in a thread, as loading the system's authorities takes 25 ms."""
    if not wanted:
        return None
    try:
        return await asyncio.to_thread(_fresh_context, server.trusted_ca_file, server.trusted_ca)
    except OSError as error:
        message = "Certificate error: the file of trusted certificate authorities cannot be read."
        raise SmtpFailure(Failure(Phase.TLS, Cause.TLS, message)) from error


def _fresh_context(trusted_ca_file: str | None, trusted_ca: str | None) -> ssl.SSLContext:
    changed = os.stat(trusted_ca_file).st_mtime_ns if trusted_ca_file else 0
    return _make_context(trusted_ca_file, changed, trusted_ca)


@functools.lru_cache(maxsize=64)
def _make_context(trusted_ca_file: str | None, _changed: int, trusted_ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trusted_ca_file:
        context.load_verify_locations(cafile=trusted_ca_file)
    if trusted_ca:
        context.load_verify_locations(cadata=trusted_ca)
    return context
