"""Keys of DKIM: made, read, and as the DNS has them."""

from base64 import b64encode
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from app.domains.models import DkimAlgorithm
from app.errors import InvalidInput
from app.mail.dkim import PrivateKey

RSA_BITS = 2048
LEAST_RSA_BITS = 2048
"""RFC 8301 section 3.2: signers should use no fewer."""
MOST_RSA_BITS = 4096
"""RFC 8301 section 3.2: more need not be verified."""
_STRING_OCTETS = 255


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record to publish. `strings`: the value in parts of at most 255 octets, as a zone file needs them."""

    name: str
    type: str
    value: str

    @property
    def strings(self) -> list[str]:
        starts = range(0, len(self.value), _STRING_OCTETS)
        return [self.value[start : start + _STRING_OCTETS] for start in starts]


def generate_key(algorithm: DkimAlgorithm) -> PrivateKey:
    """A new key; of RSA, with 2048 bits, which takes a while."""
    if algorithm is DkimAlgorithm.RSA:
        return generate_private_key(65537, RSA_BITS)
    return Ed25519PrivateKey.generate()


def read_key(pem: str) -> PrivateKey:
    """The private key in PEM text. Raises InvalidInput, which never shows the text."""
    try:
        key = load_pem_private_key(pem.strip().encode("ascii"), None)
    except TypeError:
        raise _refused("The private key is encrypted; give it without its pass phrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _refused("This is no private key in PEM, from -----BEGIN PRIVATE KEY----- on.") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, RSAPrivateKey):
        raise _refused("The private key is neither RSA nor Ed25519, so that nobody could verify it.")
    if not LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
        raise _refused(
            f"The private key has {key.key_size} bits. An RSA key has {LEAST_RSA_BITS} to {MOST_RSA_BITS}: with fewer"
            " it is too weak, with more not every receiver verifies it (RFC 8301)."
        )
    return key


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, field=("privateKey",))


def algorithm_of(key: PrivateKey) -> DkimAlgorithm:
    """Which kind of key it is."""
    return DkimAlgorithm.RSA if isinstance(key, RSAPrivateKey) else DkimAlgorithm.ED25519


def private_text(key: PrivateKey) -> str:
    """The key as PKCS#8 in PEM: a secret."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_text(key: PrivateKey) -> str:
    """The public half, as `p=` has it: of RSA a SubjectPublicKeyInfo, of Ed25519 the bare key (RFC 8463)."""
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        return b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    return b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def dkim_record(domain: str, selector: str, algorithm: str, public_key: str) -> DnsRecord:
    """What to publish for the key."""
    return DnsRecord(key_name(domain, selector), "TXT", f"v=DKIM1; k={algorithm.lower()}; p={public_key}")


def key_name(domain: str, selector: str) -> str:
    """Where the key is published."""
    return f"{selector}._domainkey.{domain}"
