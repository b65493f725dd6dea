"""Hold the rules of a new browser key to the templates that there are."""

from collections.abc import Mapping
from uuid import UUID

from app.access.browser import BrowserLimits, BrowserRules, check_browser
from app.database.connection import as_document, as_key, rows
from app.errors import Problem


async def browser_problems(rules: BrowserRules | None, most: BrowserLimits) -> tuple[Problem, ...]:
    """Everything that is wrong with them, each problem under `browser`; nothing with no rules."""
    if rules is None:
        return ()
    return tuple(problem.under("browser") for problem in check_browser(rules, await _templates(), most))


async def _templates() -> Mapping[UUID, bool]:
    # Plain SQL, because the package of templates stands above this one.
    found = await rows("SELECT template_id, recipients FROM template_version WHERE is_current = $1", True)
    return {as_key(row["template_id"]): any(as_document(row["recipients"]).values()) for row in found}
