"""The program as the network meets it: who asked, what the log tells of it, and slow clients."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from tests.journeys.conftest import Eventually
from tests.journeys.program import ADMIN_KEY, Heliograph, Server

MAIL = {"to": "secret.person@x.example", "subject": "Hello", "body_text": "canary-body"}


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.errors.splitlines()]


def about(server: Server, request_id: str) -> list[dict[str, Any]]:
    return [line for line in lines(server) if line.get("request_id") == request_id]


async def test_a_request_is_told_in_one_line_with_its_id_and_key_and_nothing_secret(heliograph: Heliograph) -> None:
    installed = heliograph.having(admin_api_key=ADMIN_KEY, log_format="json", trusted_proxies="127.0.0.1/32")
    async with installed.serving(api_key=None) as server:
        http, told = server.doors.http, {"X-Request-Id": "from-the-proxy", "X-Forwarded-For": "8.8.8.8"}
        sent = await http.post(f"/api/v2/email?api_key={ADMIN_KEY}", json=MAIL, headers=told)
        assert (sent.status_code, sent.headers["x-request-id"]) == (200, "from-the-proxy")
        asked = await http.post("/graphql", json={"query": "{ viewer { apiKeyId } }"}, headers={"X-API-Key": ADMIN_KEY})
        key_id = asked.json()["data"]["viewer"]["apiKeyId"]
        wrong = await http.post("/api/v2/email?api_key=canary-wrong-key", json=MAIL)

    [by_rest] = about(server, "from-the-proxy")
    [by_graphql] = about(server, asked.headers["x-request-id"])
    [told_why, refused] = about(server, wrong.headers["x-request-id"])
    assert (by_rest["method"], by_rest["path"], by_rest["status"]) == ("POST", "/api/v2/email", 200)
    assert by_rest["key_id"] == by_graphql["key_id"] == key_id
    assert (refused["status"], refused["key_id"]) == (401, None)
    assert (told_why["refused_key_id"], told_why["reason"]) == ("-", "it is unknown")
    [delivered] = [line for line in lines(server) if sent.headers["x-message-id"] in line["message"]]
    assert "request_id" not in delivered, "the worker answers no request"
    for secret in (ADMIN_KEY, "canary", "secret.person"):
        assert secret not in server.errors


async def test_a_client_that_stops_in_the_middle_of_its_body_leaves_no_trouble(
    heliograph: Heliograph, eventually: Eventually
) -> None:
    installed = heliograph.having(admin_api_key=ADMIN_KEY, log_format="json", body_timeout=0.2)

    async def ask_slowly(path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        header = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {ADMIN_KEY}\r\nContent-Type: application/json\r\n"
        writer.write(f"{header}Content-Length: 100\r\n\r\n".encode() + b'{"query": ')
        try:
            async with asyncio.timeout(30):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async with installed.serving() as server:
        for path in ("/api/v2/email", "/graphql"):
            assert await ask_slowly(path) == b""

        async def both_told() -> bool:
            return len([line for line in lines(server) if line.get("method") == "POST"]) == 2

        await eventually(both_told)
        assert [line for line in lines(server) if line["level"] in ("error", "warning")] == []
        assert (await server.doors.http.get("/health/live")).status_code == 200


async def test_what_is_no_http_is_answered_in_json(heliograph: Heliograph) -> None:
    async with heliograph.having(admin_api_key=ADMIN_KEY).serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port)
        writer.write(b"\x16\x03\x01 this is TLS\r\n\r\n")
        header, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert header.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == 400
