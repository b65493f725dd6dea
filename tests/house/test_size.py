"""Files and functions small enough to be read at once, and named for what they hold."""

import ast
import re
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "app").rglob("*.py"))
PROOFS = sorted(module for folder in ("tests", "benchmarks") for module in (ROOT / folder).rglob("*.py"))
NAMES_OF_NOTHING = re.compile(r"utils?|common|helpers?|managers?|base|misc|shared|tools?")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, Function)]


def lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def named(module: Path) -> str:
    return str(module.relative_to(ROOT))


def test_modules_are_short() -> None:
    assert [named(module) for module in MODULES + PROOFS if len(module.read_text().splitlines()) >= 400] == []


def test_modules_say_what_they_are_for() -> None:
    assert [named(module) for module in MODULES if not ast.get_docstring(ast.parse(module.read_text()))] == []


def test_functions_fit_on_a_screen() -> None:
    long = [(module, function) for module in MODULES for function in functions(module) if lines(function) >= 60]
    assert [f"{named(module)}: {function.name}" for module, function in long] == []


def test_half_of_the_functions_have_at_most_ten_lines() -> None:
    assert median(lines(function) for module in MODULES for function in functions(module)) <= 10


def test_a_module_is_named_for_its_noun_or_verb() -> None:
    parts = {part for module in MODULES for part in module.relative_to(ROOT / "app").with_suffix("").parts}
    assert {part for part in parts if any(map(NAMES_OF_NOTHING.fullmatch, part.split("_")))} == set()


def test_what_is_public_says_what_goes_in_and_out() -> None:
    public = [
        (module, node)
        for module in MODULES
        for node in ast.parse(module.read_text()).body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and not _is_described(node)
    ]
    assert [f"{named(module)}: {node.name}" for module, node in public] == []


def _is_described(node: Function | ast.ClassDef) -> bool:
    """Strawberry's types carry their description in the decorator; of overloads, the implementation has one."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return bool(ast.get_docstring(node)) or any("description=" in d or d == "overload" for d in decorators)


def test_packages_under_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
