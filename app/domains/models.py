"""The table of DKIM keys."""

from enum import StrEnum

from tortoise import fields
from tortoise.models import Model

from app.database.key import new_key


class DkimAlgorithm(StrEnum):
    """RSA: rsa-sha256 (RFC 6376), which every receiver verifies. ED25519: ed25519-sha256 (RFC 8463), which some do."""

    RSA = "RSA"
    ED25519 = "ED25519"


class DkimKeyState(StrEnum):
    """NEW: made, to be published. ACTIVE: signs. RETIRED: signs no more, and stays published for mail under way."""

    NEW = "NEW"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


class DkimKey(Model):
    """One key of a sender domain, which is in A-labels; at most one of a domain and algorithm is active.

    `sealed_private_key` is PKCS#8 in PEM, sealed; `public_key` what `p=` says. `subdomains`: it also signs mail of
    subdomains that have no active key of their own.
    """

    id = fields.UUIDField(primary_key=True, default=new_key)
    domain = fields.CharField(max_length=255)
    selector = fields.CharField(max_length=63)
    algorithm = fields.CharField(max_length=16)
    state = fields.CharField(max_length=16)
    subdomains = fields.BooleanField(default=False)
    sealed_private_key = fields.TextField()
    public_key = fields.TextField()
    created_at = fields.DatetimeField()
    activated_at = fields.DatetimeField(null=True)
    retired_at = fields.DatetimeField(null=True)

    class Meta:
        table = "dkim_key"
