"""What the audit log tells of DKIM keys. Pure."""

from collections.abc import Mapping

from app.audit.diff import Secret
from app.audit.record import Subject
from app.domains.key_pair import key_name
from app.domains.models import DkimKey

_LONGEST_NAME = 128


def dkim_subject(key: DkimKey) -> Subject:
    """The key, as an audit entry names it."""
    return Subject("dkim", key.id, key_name(key.domain, key.selector)[:_LONGEST_NAME])


def dkim_facts(key: DkimKey) -> Mapping[str, object]:
    """The key by the names of its GraphQL fields, the private half as a secret."""
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "state": key.state,
        "subdomains": key.subdomains,
        "privateKey": Secret(key.sealed_private_key),
        "publicKey": key.public_key,
        "activatedAt": key.activated_at,
        "retiredAt": key.retired_at,
    }
