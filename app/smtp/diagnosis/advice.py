"""From a code to one sentence that says what to change. Pure."""

from dataclasses import dataclass

from app.smtp.diagnosis.report import DiagnosisCode
from app.smtp.server import Server

Code = DiagnosisCode

ADVICE: dict[Code, str] = {
    Code.DIAGNOSIS_TIMEOUT: (
        "The diagnosis ended at its limit of {total:g} seconds: the server is very slow, or something on the way"
        " to it is."
    ),
    Code.HOST_NOT_FOUND: "There is no host {host}: correct the service's host, or this machine's DNS resolver.",
    Code.DNS_TIMEOUT: "The DNS resolver of this machine does not answer: look at its configuration and network.",
    Code.ADDRESS_FORBIDDEN: (
        "This server does not connect to where {host} leads: use a public mail server, or let"
        " HELIOGRAPH_SMTP_NETWORKS, HELIOGRAPH_SMTP_PRIVATE_NETWORKS or HELIOGRAPH_SMTP_LOOPBACK allow its network."
    ),
    Code.PORT_FORBIDDEN: (
        "This server sends to no port {port}: use 587 (encryption TLS) or 465 (SSL), or add the port to"
        " HELIOGRAPH_SMTP_PORTS."
    ),
    Code.CONNECTION_REFUSED: (
        "Nothing listens at port {port} of {host}: correct host and port (587 with TLS, 465 with SSL), or start"
        " the mail server."
    ),
    Code.CONNECT_TIMEOUT: (
        "Nothing answers at port {port} of {host}: a firewall is in the way, here or there, or the port is wrong."
        " Many hosting providers block 25; try 587."
    ),
    Code.UNREACHABLE: "There is no way from this machine to {host}: look at its network, its routes and its firewall.",
    Code.GREETING_REFUSED: (
        "The server turns this machine away: ask its operator to let this machine's address in, or use another server."
    ),
    Code.GREETING_TIMEOUT: (
        "Port {port} of {host} takes connections and says nothing: it is no mail server, or an overloaded one."
        " Correct the port."
    ),
    Code.PLAIN_ON_TLS_PORT: "Port {port} wants TLS from the first byte: set the service's encryption to SSL.",
    Code.NOT_SMTP: "What listens at port {port} of {host} is no mail server: correct host and port.",
    Code.DISCONNECTED: (
        "The server hangs up: it does not want connections from this machine, or from so many at a time. Ask its"
        " operator."
    ),
    Code.TIMED_OUT: (
        "The server stops answering in the middle of the session: it is overloaded, or a firewall that looks into"
        " the session breaks it."
    ),
    Code.TRY_LATER: (
        "The server asks to try later, and mail will be: if that lasts, ask its operator for the reason it gives."
    ),
    Code.EHLO_REFUSED: (
        "The server does not take the name that this machine gives itself: set HELIOGRAPH_EHLO_NAME to the host"
        " name that this machine's address has in DNS."
    ),
    Code.NO_ESMTP: (
        "The server speaks only the SMTP of old, without encryption and AUTH: mail goes, but a newer server would"
        " be safer."
    ),
    Code.NOT_ENCRYPTED: (
        "Mail goes to this server in clear text: where it has another port with TLS, set that and the encryption."
    ),
    Code.STARTTLS_UNUSED: (
        "The server offers STARTTLS: set the service's encryption to TLS, so that nobody on the way can read along."
    ),
    Code.STARTTLS_NOT_OFFERED: (
        "Port {port} offers no STARTTLS: set encryption SSL with port 465, or NONE if this server is in a network"
        " that you trust."
    ),
    Code.STARTTLS_REFUSED: (
        "The server offers STARTTLS and then refuses it: its operator has to repair its TLS; or use encryption SSL"
        " with port 465."
    ),
    Code.TLS_ON_PLAIN_PORT: (
        "Port {port} does not speak TLS from the first byte: set the service's encryption to TLS (STARTTLS), or"
        " its port to 465."
    ),
    Code.TLS_TOO_OLD: "The server speaks no TLS of version 1.2 or later: its operator has to update it.",
    Code.TLS_FAILED: (
        "No TLS session could be made: the server's TLS is broken, or something on the way takes it apart."
    ),
    Code.CERTIFICATE_EXPIRED: (
        "The server's certificate has expired: its operator has to renew it. If the date is wrong, look at this"
        " machine's clock."
    ),
    Code.CERTIFICATE_EXPIRES_SOON: "The server's certificate ends in {days} days: its operator has to renew it before.",
    Code.CERTIFICATE_NOT_YET_VALID: "The server's certificate is not valid yet: look at this machine's clock.",
    Code.CERTIFICATE_HOSTNAME: (
        "The server's certificate is not for {host}: set the service's host to a name that is in the certificate."
    ),
    Code.CERTIFICATE_UNTRUSTED: (
        "The server's certificate is self-signed or of a private authority: give the service that authority as"
        " trustedCa, or name it for all in HELIOGRAPH_TRUSTED_CA_FILE."
    ),
    Code.CERTIFICATE_INVALID: "The server's certificate is not valid: its operator has to replace it.",
    Code.PASSWORD_UNREADABLE: (
        "The stored password cannot be opened: configure the key that it was sealed with, or set user name and"
        " password again."
    ),
    Code.CLEAR_TEXT_AUTH: (
        "The password would go over the network in clear text: set the service's encryption to TLS or SSL, or"
        " clearTextAuth if you trust that network."
    ),
    Code.AUTH_NOT_OFFERED: (
        "The server offers no AUTH here: use its port for submission (587 or 465) with encryption, or clear user"
        " name and password if it wants none."
    ),
    Code.MECHANISM_NOT_OFFERED: (
        "The server offers none of the ways to authenticate that this service can use: set the kind of credential"
        " that it wants, or use another server."
    ),
    Code.AUTH_TOO_SOON: (
        "AUTH was tried a moment ago, and the account shall not be locked: diagnose again after that time."
    ),
    Code.BAD_CREDENTIALS: (
        "The server knows no such user name with this password: set both again, as the provider gives them for SMTP."
    ),
    Code.APP_PASSWORD_NEEDED: (
        "This provider wants an app password instead of the account's own: make one in the account's security"
        " settings, and set it as the service's password."
    ),
    Code.SMTP_CREDENTIALS_NEEDED: (
        "Amazon SES wants SMTP credentials, which are no access keys of AWS, and belong to one region: make them"
        " in the SES console of the region in {host}."
    ),
    Code.BASIC_AUTH_DISABLED: (
        "Microsoft takes no passwords for this account any more: use OAuth 2.0, or another service for this mail."
    ),
    Code.SMTP_AUTH_DISABLED: (
        "SMTP AUTH is switched off for this mailbox or its tenant: an administrator of Microsoft 365 has to switch"
        " on Authenticated SMTP for the mailbox."
    ),
    Code.NO_ACCESS_TOKEN: (
        "No access token can be had: correct what the service's oauth2 says, as its endpoint answered."
    ),
    Code.TOKEN_REFUSED: (
        "The server takes no access token for this user name: see that it is the mailbox's own, and that the"
        " application was granted SMTP for it."
    ),
    Code.ENCRYPTION_REQUIRED: (
        "The server wants encryption first: set the service's encryption to TLS, or to SSL with port 465."
    ),
    Code.MECHANISM_REFUSED: "The server refuses the way to authenticate that it offers: its operator has to repair it.",
    Code.AUTH_REFUSED: (
        "The server refuses AUTH, but not for user name or password: do as its reply says, or ask its operator."
    ),
    Code.AUTH_REQUIRED: "The server takes no mail without AUTH: set the service's user name and password.",
    Code.SENDER_REFUSED: (
        "The server does not let this account send from that address: use an address of the account's, or have the"
        " sender or its domain verified at the provider."
    ),
    Code.RECIPIENT_REFUSED: "The server refuses this recipient: see whether the address exists.",
    Code.RELAY_DENIED: (
        "The server takes no mail for other domains from here: set user name and password, or have its operator"
        " allow this machine to relay."
    ),
    Code.SMTPUTF8_NOT_OFFERED: (
        "The server offers no SMTPUTF8, which an address with letters beyond ASCII before the @ needs: use another"
        " address."
    ),
}
"""What to change, by code; a code that is not here needs no change."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences are about. `days`: how long the certificate is still valid."""

    server: Server
    total: float = 0
    days: int = 0


def advise(code: DiagnosisCode, facts: Facts) -> str | None:
    """One sentence that says what to change; None where nothing is."""
    template = ADVICE.get(code)
    if template is None:
        return None
    return template.format(host=facts.server.host, port=facts.server.port, total=facts.total, days=facts.days)
