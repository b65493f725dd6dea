"""Sends an order's mail with requests: send.py json|untyped|form|multipart SERVICE"""

import json
import os
import sys
from typing import Any

import requests

MAIL: dict[str, Any] = {
    "to": [{"name": "Ann Exämple", "email": "ann@example.com"}, {"name": "Bob, Jr.", "email": "bob@example.com"}],
    "cc": "carl@example.com",
    "bcc": "archive@example.com",
    "subject": "Order {order}: 50% & more",
    "body_text": "Grüße, {name}!\n\nTotal: 12 € + shipping\n",
    "body_html": '<p style="color:red">Grüße, <b>{name}</b>!</p>\n<p>{note}</p>\n',
    "from_name": "The Shop",
    "from_email": "shop@example.com",
    "name": "Ann",
    "order": "4711",
    "template_data": {"note": "1 < 2"},
}
RECIPIENTS = {f"to[{index}][{key}]": value for index, to in enumerate(MAIL["to"]) for key, value in to.items()}
TEXTS = {name: value for name, value in MAIL.items() if isinstance(value, str)}
FIELDS = {**RECIPIENTS, **TEXTS, "template_data[note]": "1 < 2"}


def send(form: str, service: str) -> requests.Response:
    """Post the mail in this form."""
    url = f"{os.environ['BASE_URL']}/api/v2/{service}"
    headers = {"X-DreamFactory-API-Key": os.environ["API_KEY"]}
    match form:
        case "json":
            return requests.post(url, headers=headers, json=MAIL, timeout=60)
        case "untyped":
            return requests.post(url, headers=headers, data=json.dumps(MAIL), timeout=60)
        case "form":
            return requests.post(url, headers=headers, data=FIELDS, timeout=60)
        case _:
            with open("Rechnung März.pdf", "rb") as invoice, open("terms.txt", "rb") as terms:
                files = {"file": invoice, "attachment": terms}
                return requests.post(url, headers=headers, data=FIELDS, files=files, timeout=60)


response = send(*sys.argv[1:])
try:
    response.raise_for_status()
except requests.HTTPError:
    sys.exit(response.text)
sys.stdout.write(response.text)
