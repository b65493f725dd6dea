"""TLS as the service asks for it, and the certificate that comes with it."""

import ipaddress

from app.clock import now
from app.smtp.diagnosis.certificate import days_left, peek_certificate, shown_by, told
from app.smtp.diagnosis.report import DiagnosisCode, Stage, StageName, StageStatus
from app.smtp.diagnosis.session import Session
from app.smtp.diagnosis.verdict import code_of
from app.smtp.failure import Cause, SmtpFailure
from app.smtp.server import Encryption


async def encrypt(session: Session, certificate_days: int) -> list[Stage]:
    """Begin TLS, and read the certificate. Raises SmtpFailure where there is no TLS; a certificate that is refused is a
    stage of its own. One that ends within `certificate_days` is worth a warning."""
    if session.server.encryption is Encryption.NONE:
        return _unencrypted(session)
    try:
        if session.server.implicit_tls:
            await session.connection.open(session.take_socket())
        elif "starttls" in session.connection.extensions:
            await session.connection.starttls()
            await session.connection.ehlo()
        else:
            evidence = "Its reply to EHLO has no STARTTLS, so nothing more was said."
            return [Stage(StageName.TLS, StageStatus.FAILED, DiagnosisCode.STARTTLS_NOT_OFFERED, evidence)]
    except SmtpFailure as failed:
        if failed.failure.cause is not Cause.CERTIFICATE:
            raise
        return [Stage(StageName.TLS, StageStatus.OK, evidence="It speaks TLS."), await _refused(session, failed)]
    return _accepted(session, certificate_days)


def _unencrypted(session: Session) -> list[Stage]:
    skipped = Stage(StageName.CERTIFICATE, StageStatus.SKIPPED, DiagnosisCode.NOT_ASKED, "There is none without TLS.")
    if "starttls" in session.connection.extensions:
        evidence = "The service's encryption is NONE, and the server offers STARTTLS."
        return [Stage(StageName.TLS, StageStatus.WARNING, DiagnosisCode.STARTTLS_UNUSED, evidence), skipped]
    evidence = "The service's encryption is NONE."
    address = session.address
    assert address is not None, "one has accepted"
    if (getattr(address, "ipv4_mapped", None) or ipaddress.ip_address(address)).is_loopback:
        return [Stage(StageName.TLS, StageStatus.SKIPPED, DiagnosisCode.NOT_ASKED, evidence), skipped]
    return [Stage(StageName.TLS, StageStatus.WARNING, DiagnosisCode.NOT_ENCRYPTED, evidence), skipped]


async def _refused(session: Session, failed: SmtpFailure) -> Stage:
    """What is wrong with the certificate, and what is in it, from a second look."""
    code = code_of(failed.failure, failed.__cause__, session.server)
    evidence = failed.failure.message
    assert session.address is not None, "one has accepted"
    implicit = session.server.implicit_tls
    certificate = await peek_certificate(session.server, session.address, implicit=implicit)
    if certificate is not None:
        evidence += f" It is {told(certificate, now())}."
    return Stage(StageName.CERTIFICATE, StageStatus.FAILED, code, evidence)


def _accepted(session: Session, certificate_days: int) -> list[Stage]:
    tls = session.connection.client.get_transport_info("ssl_object")
    cipher = tls.cipher()
    spoken = Stage(StageName.TLS, StageStatus.OK, evidence=f"{tls.version()}, {cipher[0] if cipher else 'no cipher'}.")
    certificate = shown_by(tls)
    assert certificate is not None, "it was verified"
    evidence = f"It is trusted; {told(certificate, now())}."
    session.days_left = days_left(certificate, now())
    if session.days_left < certificate_days:
        code = DiagnosisCode.CERTIFICATE_EXPIRES_SOON
        return [spoken, Stage(StageName.CERTIFICATE, StageStatus.WARNING, code, evidence)]
    return [spoken, Stage(StageName.CERTIFICATE, StageStatus.OK, evidence=evidence)]
