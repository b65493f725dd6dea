"""MAIL and RCPT without DATA: would the server take a mail from here to there?"""

import contextlib

from app.mail.reply import Reply, Severity
from app.smtp.diagnosis.report import DiagnosisCode, Stage, StageName, StageStatus
from app.smtp.diagnosis.session import Session
from app.smtp.diagnosis.verdict import code_of_reply
from app.smtp.failure import Phase, SmtpFailure


async def probe_envelope(session: Session, sender: str, recipient: str | None) -> list[Stage]:
    """Say MAIL, RCPT and RSET, so that no mail comes of it. Raises SmtpFailure."""
    if recipient is None:
        evidence = "No recipient was given to try MAIL and RCPT with."
        return [Stage(StageName.ENVELOPE, StageStatus.SKIPPED, DiagnosisCode.NOT_ASKED, evidence)]
    connection, timeouts = session.connection, session.server.timeouts
    utf8 = not (sender + recipient).isascii()
    if utf8 and "smtputf8" not in connection.extensions:
        evidence = "Its reply to EHLO has no SMTPUTF8."
        return [Stage(StageName.ENVELOPE, StageStatus.FAILED, DiagnosisCode.SMTPUTF8_NOT_OFFERED, evidence)]
    mail = b"MAIL FROM:<" + sender.encode() + b">" + (b" SMTPUTF8" if utf8 else b"")
    reply, phase = await connection.command(Phase.MAIL, timeouts.mail, mail), Phase.MAIL
    if reply.severity is Severity.POSITIVE:
        rcpt = b"RCPT TO:<" + recipient.encode() + b">"
        reply, phase = await connection.command(Phase.RCPT, timeouts.rcpt, rcpt), Phase.RCPT
        with contextlib.suppress(SmtpFailure):
            await connection.reset()
    return [_judged(reply, phase, session)]


def _judged(reply: Reply, phase: Phase, session: Session) -> Stage:
    evidence = f"{phase.name}: {reply}"
    if reply.severity is Severity.POSITIVE:
        return Stage(StageName.ENVELOPE, StageStatus.OK, evidence=evidence)
    code = code_of_reply(reply, phase, session.server)
    later = code is DiagnosisCode.TRY_LATER
    return Stage(StageName.ENVELOPE, StageStatus.WARNING if later else StageStatus.FAILED, code, evidence)
