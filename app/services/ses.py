"""Amazon SES's SMTP password, derived from an IAM user's secret access key for one region. Pure.

https://docs.aws.amazon.com/ses/latest/dg/smtp-credentials.html: the signing key of AWS Signature Version 4 for a fixed
date, which signs a fixed word; before it goes the version of the derivation, one octet.
"""

import base64
import hmac
from functools import reduce

_WORDS_BEFORE_REGION = ("11111111",)
_WORDS_AFTER_REGION = ("ses", "aws4_request", "SendRawEmail")
_VERSION = b"\x04"


def ses_smtp_password(secret_access_key: str, region: str) -> str:
    """The password that goes with the access key's id as user name, at the region's server only."""
    words = (*_WORDS_BEFORE_REGION, region, *_WORDS_AFTER_REGION)
    signature = reduce(_signed, words, f"AWS4{secret_access_key}".encode())
    return base64.b64encode(_VERSION + signature).decode()


def _signed(key: bytes, word: str) -> bytes:
    return hmac.digest(key, word.encode(), "sha256")
