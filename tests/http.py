"""The tests' client of a server on loopback."""

import ssl
from typing import Any

import httpx2

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http_client(url: str = "", **options: Any) -> httpx2.AsyncClient:
    """A client of `url`, by plain HTTP and past every proxy. It trusts no certificate: to read those of the system
    takes longer than many a test. It is as patient as the test."""
    return httpx2.AsyncClient(base_url=url, verify=_NO_CERTIFICATES, trust_env=False, timeout=None, **options)
