"""Section 1 of the contract: the route, its API keys and its bodies."""

import json
from dataclasses import replace
from urllib.parse import urlencode

from tests.journeys.contract import ANN, BODY, FORM, JSON, MULTIPART, Request, Row, mail, multipart, not_taken, taken
from tests.journeys.contract import Answer as Answered

MAIL = mail()
NO_KEY = "No session token (JWT) or API Key detected in request."
AS_JSON = json.dumps(BODY).encode()
AS_FORM = urlencode(BODY).encode()
ALL_BUT_HEADERS = Request(headers={})


def with_key(query: str = "", **headers: str) -> Request:
    """The usual mail, its API key given so."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(MAIL, headers=given, query=query)


def by(method: str) -> Row:
    """Another verb than POST."""
    answer = Answered(405, code=405, says=f"The method {method} is not supported", headers={"Allow": "POST"})
    return Row([(replace(MAIL, method=method), answer)])


KEYS = {
    "key in X-DreamFactory-API-Key": taken(with_key(X_DreamFactory_API_Key="{admin}")),
    "key in X-API-Key": taken(with_key(X_API_Key="{admin}")),
    "key as bearer": taken(with_key(Authorization="Bearer {admin}")),
    "key in the query": taken(with_key("api_key={admin}")),
    "X-DreamFactory-API-Key before all others": taken(
        with_key("api_key=no", X_DreamFactory_API_Key="{admin}", X_API_Key="no", Authorization="Bearer no")
    ),
    "X-API-Key before bearer": taken(with_key("api_key=no", X_API_Key="{admin}", Authorization="Bearer no")),
    "bearer before the query": taken(with_key("api_key=no", Authorization="Bearer {admin}")),
    "a wrong key is not made good by a right one behind it": not_taken(
        with_key("api_key={admin}", X_DreamFactory_API_Key="no", X_API_Key="{admin}"), 401, "Invalid API key."
    ),
    "an empty key is no key": taken(with_key(X_DreamFactory_API_Key="", X_API_Key="{admin}")),
    "the key of the query is no variable": taken(
        replace(ALL_BUT_HEADERS, query=urlencode(BODY | {"body_text": "{api_key}"}) + "&api_key={admin}"),
        text="{api_key}\r\n",
    ),
    "no key": not_taken(with_key(), 401, NO_KEY, error_code="UNAUTHENTICATED"),
    "a key under another scheme": not_taken(with_key(Authorization="Basic {admin}"), 401, NO_KEY),
    "no key, and no mail either": not_taken(replace(ALL_BUT_HEADERS, body=b"{"), 401, NO_KEY),
}

PATHS = {
    "trailing slash": taken(replace(MAIL, path="/api/v2/{service}/")),
    "any case": taken(replace(MAIL, path="/api/v2/{SERVICE}")),
    "any case and a slash": taken(replace(MAIL, path="/api/v2/{SERVICE}/")),
    "GET": by("GET"),
    "PUT": by("PUT"),
    "PATCH": by("PATCH"),
    "DELETE": by("DELETE"),
    "OPTIONS": by("OPTIONS"),
    "another verb with a slash": Row(
        [
            (
                replace(MAIL, method="GET", path="/api/v2/{service}/"),
                Answered(405, code=405, says="The method GET", headers={"Allow": "POST"}),
            )
        ]
    ),
    "below the service": not_taken(replace(MAIL, path="/api/v2/{service}/x"), 404, "There is nothing here."),
    "no service": not_taken(replace(MAIL, path="/api/v2/"), 404, "There is nothing here."),
    "another version": not_taken(replace(MAIL, path="/api/v1/{service}"), 404, "There is nothing here."),
    "nothing below /api": not_taken(replace(MAIL, path="/api/"), 404, "There is nothing here."),
    "another verb elsewhere": not_taken(replace(MAIL, path="/api/x", method="DELETE"), 404, "There is nothing here."),
}

BODIES = {
    "JSON": taken(replace(MAIL, content_type="application/json; charset=utf-8")),
    "JSON of a kind": taken(replace(MAIL, content_type="application/vnd.shop+json")),
    "JSON as a form, as curl -d sends it": taken(replace(MAIL, content_type=FORM)),
    "JSON of no kind": taken(replace(MAIL, content_type=None)),
    "JSON with white space around it": taken(replace(MAIL, body=b"\r\n " + AS_JSON + b"\r\n", content_type=FORM)),
    "a form": taken(replace(MAIL, body=AS_FORM, content_type=FORM)),
    "a form of another charset's name": taken(
        replace(MAIL, body=AS_FORM, content_type="Application/X-WWW-Form-urlencoded; charset=UTF-8")
    ),
    "a form with lists": taken(
        replace(
            MAIL,
            body=b"to[]=ann@x.example&to[]=bob@x.example&body_text=It+works.&subject=Hello".replace(b"[]", b"%5B%5D"),
            content_type=FORM,
        ),
        ANN,
        "bob@x.example",
        to="ann@x.example, bob@x.example",
    ),
    "a form with objects": taken(
        replace(
            MAIL,
            body=b"to[0][email]=ann@x.example&to[0][name]=Ann&subject=Hello&body_text=It works.".replace(b" ", b"%20"),
            content_type=FORM,
        ),
        to="Ann <ann@x.example>",
    ),
    "a form with files, but without any": taken(replace(MAIL, body=multipart(BODY), content_type=MULTIPART)),
    "an empty body and a query": taken(replace(MAIL, body=b"", content_type=None, query=urlencode(BODY))),
    "an empty JSON body and a query": taken(replace(MAIL, body=b"", content_type=JSON, query=urlencode(BODY))),
    "a query beside a body is not the mail": taken(replace(MAIL, query="to=eve@x.example&cc=eve@x.example&subject=No")),
    "half of JSON": not_taken(replace(MAIL, body=AS_JSON[:-1]), 400, "Invalid or malformed JSON."),
    "half of JSON as a form": not_taken(
        replace(MAIL, body=AS_JSON[:-1], content_type=FORM), 400, "Invalid or malformed JSON."
    ),
    "octets that are not UTF-8": not_taken(
        replace(MAIL, body=AS_JSON.replace(b"works", b"w\xffrks")), 400, "Invalid or malformed JSON."
    ),
    "JSON that is a list": not_taken(replace(MAIL, body=b"[" + AS_JSON + b"]"), 400, "No valid data in request."),
    "an empty object": not_taken(replace(MAIL, body=b"{}"), 400, "No valid data in request."),
    "nothing at all": not_taken(replace(MAIL, body=b"", content_type=None), 400, "No valid data in request."),
    "a form without a boundary": not_taken(
        replace(MAIL, body=multipart(BODY), content_type="multipart/form-data"),
        400,
        "The multipart body cannot be read. Its Content-Type must name a boundary.",
    ),
}

ROWS = {**KEYS, **PATHS, **BODIES}
