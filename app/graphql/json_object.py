"""A JSON argument that has to be an object."""

from typing import Any

from app.errors import ErrorCode, Problem
from app.mail.octets import in_memory


def json_object(value: Any, field: str, problems: list[Problem]) -> dict[str, Any]:
    """The object; empty for null, and for anything else, which is added to `problems`."""
    if value is None:
        return {}
    if isinstance(value, dict):
        in_memory(value)
        return value
    problems.append(Problem(ErrorCode.INVALID_INPUT, f"{field} must be an object.", (field,)))
    return {}
