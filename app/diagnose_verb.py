"""The operator's verb that diagnoses a service's server."""

import argparse
from contextlib import aclosing

from app.errors import CommandFailed
from app.mail.characters import shown
from app.services.diagnose import Diagnoser, Probe
from app.services.manage import find_service
from app.services.secret import sealer_from
from app.settings import Settings
from app.smtp.diagnosis.report import Stage, StageStatus, is_ok


def add_diagnose_options(diagnose: argparse.ArgumentParser) -> None:
    """What `heliograph diagnose` may be told."""
    diagnose.add_argument("service", help="the service's name")
    diagnose.add_argument("--to", metavar="EMAIL", help="try RCPT with this recipient; no mail is sent")
    diagnose.add_argument(
        "--from", dest="sender", metavar="EMAIL", help="and MAIL with this sender (default: the service's)"
    )
    diagnose.epilog = "Sends no mail, and tries AUTH at most once. The exit status is 1 when a stage failed."


async def diagnose_service(settings: Settings, options: argparse.Namespace) -> int:
    """Print each stage as it ends; 1 when one failed."""
    service = await find_service(options.service)
    if service is None:
        raise CommandFailed(f"there is no service named {shown(options.service)!r}")
    diagnoser = Diagnoser(settings, sealer_from(settings, make_file=False))
    stages: list[Stage] = []
    async with aclosing(diagnoser.diagnose(service.id, Probe(options.to, options.sender), None)) as walked:
        async for stage in walked:
            stages.append(stage)
            print(_line(stage), flush=True)
    return int(not is_ok(stages))


def _line(stage: Stage) -> str:
    code = "" if stage.status is StageStatus.OK else f"{stage.code}: "
    evidence = stage.evidence.replace("\n", " / ")
    line = f"{stage.status:<8}{stage.name:<12}{stage.milliseconds:>6} ms  {code}{evidence}"
    return f"{line}\n{'':8}-> {stage.advice}" if stage.advice else line
