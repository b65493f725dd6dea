"""Diagnoses of services' servers: a mutation with all stages, a subscription with one after the other."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.database.key import public_id
from app.errors import ErrorCode, NotFound, Refusal
from app.graphql.context import Info, note_carried_out
from app.graphql.paging import key_of
from app.graphql.service_type import Service
from app.graphql.types import UserError, user_errors
from app.services.diagnose import Probe
from app.services.manage import get_service
from app.smtp.diagnosis import report
from app.smtp.diagnosis.report import DiagnosisCode, StageName, StageStatus, first_advice, is_ok

strawberry.enum(
    StageName,
    name="DiagnosisStageName",
    description="What is looked at, in the order of a session with STARTTLS; with implicit TLS, it and CERTIFICATE are "
    "before GREETING. TCP comes once for each address. TLS: STARTTLS or implicit. MECHANISMS: the ways to authenticate "
    "that the server offers, against the service's credential. ENVELOPE: MAIL and RCPT, without DATA.",
)
strawberry.enum(
    StageStatus,
    name="DiagnosisStatus",
    description="WARNING: mail goes all the same. FAILED: it does not. SKIPPED: not looked at.",
)
strawberry.enum(DiagnosisCode, description="What was found. Codes are stable; docs/diagnose.md has them all.")


@strawberry.type(description="One stage of a diagnosis that has ended.")
class DiagnosisStage:
    name: StageName = strawberry.field(description="What was looked at.")
    status: StageStatus = strawberry.field(description="Whether it is as it should be.")
    code: DiagnosisCode = strawberry.field(description="What was found, for programs.")
    evidence: str = strawberry.field(description="What was seen or said, without any credential.")
    advice: str | None = strawberry.field(description="One sentence that says what to change; null: nothing.")
    milliseconds: int = strawberry.field(description="How long it took.")

    @classmethod
    def of(cls, stage: report.Stage) -> Self:
        return cls(
            name=stage.name,
            status=stage.status,
            code=stage.code,
            evidence=stage.evidence,
            advice=stage.advice,
            milliseconds=stage.milliseconds,
        )


@strawberry.type(description="What keeps a service's mail from leaving, or that nothing does.")
class ServiceDiagnosis:
    service: Service = strawberry.field(description="The service.")
    ok: bool = strawberry.field(description="Whether no stage failed.")
    stages: list[DiagnosisStage] = strawberry.field(
        description="Every stage; those behind one that failed are SKIPPED."
    )
    advice: str | None = strawberry.field(
        description="What to change first: the advice of the first stage that failed, else of the first with a warning."
    )


@strawberry.input(description="Which service to diagnose, and what to try MAIL and RCPT with.")
class DiagnoseServiceInput:
    id: strawberry.ID = strawberry.field(description="The service's id.")
    recipient: str | None = strawberry.field(
        default=None, description="Try MAIL and RCPT with this address; absent: neither. No mail is sent."
    )
    from_: str | None = strawberry.field(
        name="from", default=None, description="The sender to try with; absent: the service's, else MAIL_FROM_ADDRESS."
    )


@strawberry.type(description="The diagnosis, or why there is none.")
class DiagnoseServicePayload:
    diagnosis: ServiceDiagnosis | None = strawberry.field(description="What was found.")
    user_errors: list[UserError] = strawberry.field(description="Everything that is wrong; empty on success.")


async def diagnose(
    info: Info, input: Annotated[DiagnoseServiceInput, strawberry.argument(description="Which one.")]
) -> DiagnoseServicePayload:
    """Connect to a service's server as a worker does, and tell stage by stage what is wrong. No mail is sent, and AUTH
    is tried at most once: not at all within the interval after one that was refused, whose reply is told instead. While
    another diagnosis of the service is under way it is refused (WRONG_STATE). Needs MANAGE_SERVICES on it."""
    try:
        principal = await info.context.principal()
        key, probe = _key(input.id), Probe(input.recipient, input.from_)
        stages = [stage async for stage in info.context.parts.diagnoser.diagnose(key, probe, principal)]
        note_carried_out(info, public_id("svc", key))
        found = await get_service(key)
    except Refusal as refusal:
        return DiagnoseServicePayload(diagnosis=None, user_errors=user_errors(refusal))
    diagnosis = ServiceDiagnosis(
        service=Service.of(found),
        ok=is_ok(stages),
        stages=[DiagnosisStage.of(stage) for stage in stages],
        advice=first_advice(stages),
    )
    return DiagnoseServicePayload(diagnosis=diagnosis, user_errors=[])


async def service_diagnosis(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="The service's id.")],
    recipient: Annotated[
        str | None, strawberry.argument(description="Try MAIL and RCPT with this address; absent: neither.")
    ] = None,
    from_: Annotated[
        str | None, strawberry.argument(name="from", description="The sender to try with; absent: the service's.")
    ] = None,
) -> AsyncGenerator[DiagnosisStage, None]:
    """Each stage of a diagnosis as it ends; as diagnoseService otherwise. Who unsubscribes ends it."""
    principal = await info.context.principal()
    diagnosis = info.context.parts.diagnoser.diagnose(_key(id), Probe(recipient, from_), principal)
    async with aclosing(diagnosis) as walked:
        async for stage in walked:
            yield DiagnosisStage.of(stage)


def _key(text: str) -> UUID:
    key = key_of(text, "svc")
    if key is None:
        raise NotFound("There is no such service.", code=ErrorCode.SERVICE_NOT_FOUND, field=("id",))
    return key
