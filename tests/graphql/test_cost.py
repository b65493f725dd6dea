from dataclasses import replace

import pytest
from graphql import get_introspection_query, parse
from hypothesis import given
from hypothesis import strategies as st
from strawberry.extensions.parser_cache import _get_parse_cache

from app.graphql.cost import OperationLimits, over_limit
from app.graphql.errors import RequestErrorCode
from app.settings import Settings, read_settings
from tests.graphql.tiny import Context, tiny_schema

LIMITS = OperationLimits()
UNBOUNDED_TEXT = replace(LIMITS, tokens=10**9)

FRAGMENT_BOMB = (
    "{ ...f0 } "
    + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} me {{ ...f{n + 1} }} }}" for n in range(60))
    + " fragment f60 on Query { times }"
)
HOSTILE = {
    "a fragment that spreads to 2^60 fields": FRAGMENT_BOMB,
    "10,000 aliases": "{" + " ".join(f"a{n}: times" for n in range(10_000)) + "}",
    "10,000 aliases in a fragment that nobody spreads": (
        "{ times } fragment f on Query {" + " ".join(f"a{n}: times" for n in range(10_000)) + "}"
    ),
    "5,000 directives": "{ times " + "@include(if: true) " * 5_000 + "}",
    "5,000 directives on the operation": "query q " + "@x " * 5_000 + "{ times }",
    "3,000 operations": " ".join(f"query q{n} {{ times }}" for n in range(3_000)),
    "depth 150": "{ me " * 150 + "{ times }" + "}" * 150,
    "a chain of 600 fragments": (
        "{ ...f0 } "
        + " ".join(f"fragment f{n} on Query {{ me {{ ...f{n + 1} }} }}" for n in range(600))
        + " fragment f600 on Query { times }"
    ),
    "100 root mutations": "mutation {" + " ".join(f"a{n}: count" for n in range(40)) + "}",
    "240 times the same field": "{" + "me { times } " * 240 + "}",
    "a field of the same name in each of a chain of fragments": (
        "{ ...f0 } "
        + " ".join(f"fragment f{n} on Query {{ me {{ times }} ...f{n + 1} }}" for n in range(140))
        + " fragment f140 on Query { times }"
    ),
    "the same in a circle that nobody spreads": (
        "{ times } " + " ".join(f"fragment f{n} on Query {{ me {{ times }} ...f{(n + 1) % 140} }}" for n in range(140))
    ),
    "a fragment that spreads itself twice at every level": (
        "{ times } fragment f on Query { a: me { ...f } b: me { ...f } }"
    ),
    "200 fragments side by side": (
        "{"
        + " ".join(f"...f{n}" for n in range(200))
        + "} "
        + " ".join(f"fragment f{n} on Query {{ times }}" for n in range(200))
    ),
    "root mutations behind fragments": (
        "mutation { ...a ...b } fragment a on Mutation { ...b ... { a1: count ...b } } "
        "fragment b on Mutation {" + " ".join(f"b{n}: count" for n in range(4)) + "}"
    ),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_document_is_refused_before_it_is_validated(
    document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_to_be_reached(*arguments: object) -> None:
        raise AssertionError("validation began")

    monkeypatch.setattr("app.graphql.cost.validate", not_to_be_reached)
    schema = tiny_schema(replace(UNBOUNDED_TEXT, cached_chars=1))
    result = await schema.execute(document, context_value=Context("key"))
    assert result.data is None
    assert [error.extensions for error in result.errors or []] == [{"code": RequestErrorCode.LIMIT_EXCEEDED}]


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_document_is_refused_under_the_default_limits(document: str) -> None:
    result = await tiny_schema().execute(document, context_value=Context("key"))
    codes = {(error.extensions or {})["code"] for error in result.errors or []}
    assert codes <= {RequestErrorCode.LIMIT_EXCEEDED, RequestErrorCode.PARSE_FAILED}
    assert codes


@pytest.mark.parametrize(
    ("document", "limits", "sentence"),
    [
        ("{ a { b { c } } }", {"depth": 2}, "The document has 3 levels; the limit is 2."),
        ("{ a { b } c }", {"fields": 2}, "The document has 3 fields; the limit is 2."),
        ("{ x: a y: b }", {"aliases": 1}, "The document has 2 aliases; the limit is 1."),
        ("query @a { b @c ... @d { e } }", {"directives": 2}, "The document has 3 directives; the limit is 2."),
        ("query($x: Int @a) { ...f @b } fragment f on Q @c { d }", {"directives": 2}, "3 directives"),
        ("query a { x } query b { x }", {"operations": 1}, "The document has 2 operations; the limit is 1."),
        ("mutation { a b }", {"root_mutations": 1}, "The document has 2 root fields in a mutation; the limit is 1."),
        ("{ ...f ...f } fragment f on Q { a { b } }", {"fields": 3}, "The document has 4 fields; the limit is 3."),
        ("{ ... on Q { ... { a } } ...f } fragment f on Q { b { c } }", {"depth": 1}, "The document has 2 levels"),
        ("{ " + "a " * 6 + "}", {"field_pairs": 14}, "The document has more than 14 pairs of fields of the same name"),
        ("{ a { b } ...f } fragment f on Q { x: c a { b } }", {"field_pairs": 1}, "more than 1 pairs"),
        ("{ a { ... { b b } } a { b } }", {"field_pairs": 3}, "more than 3 pairs"),
        ("{ ...a ...b ...c }", {"field_pairs": 2}, "more than 2 pairs"),
        (FRAGMENT_BOMB, {"depth": 100}, "The document has over a million fields; the limit is 500."),
    ],
)
def test_the_first_limit_broken_is_named_with_its_count(document: str, limits: dict[str, int], sentence: str) -> None:
    allowed = OperationLimits(**limits)
    assert sentence in (over_limit(parse(document), allowed) or "")


def test_what_is_at_its_limit_passes() -> None:
    exact = OperationLimits(depth=3, fields=4, aliases=1, directives=1, operations=1, root_mutations=2)
    assert over_limit(parse("mutation { x: a { b { c } } ...f } fragment f on M { d @e }"), exact) is None


@pytest.mark.parametrize(
    ("document", "pairs"),
    [
        ("{ a a a a }", 6),
        ("{ a { b } a { b } }", 2),
        ("{ a { x } b { x } x: c }", 1),
        ("{ ...f ...f } fragment f on Q { a }", 1),
    ],
)
def test_as_many_pairs_as_allowed_pass(document: str, pairs: int) -> None:
    assert over_limit(parse(document), OperationLimits(field_pairs=pairs)) is None


async def test_validation_stops_at_its_limit_of_errors() -> None:
    document = "{" + " ".join(f"nothing{n}" for n in range(100)) + "}"
    for padding in ("", " " * LIMITS.cached_chars):
        result = await tiny_schema(replace(LIMITS, errors=3)).execute(document + padding)
        assert [error.message[:20] for error in result.errors or []] == ["Cannot query field '"] * 3 + [
            "Too many validation "
        ]
        assert {(error.extensions or {})["code"] for error in result.errors or []} == {
            RequestErrorCode.VALIDATION_FAILED
        }


def test_a_query_may_have_more_root_fields_than_a_mutation() -> None:
    assert over_limit(parse("{ a b c }"), OperationLimits(root_mutations=2)) is None


def test_fragments_that_spread_each_other_are_left_to_validation() -> None:
    document = parse("{ ...a } fragment a on Q { ...b x } fragment b on Q { ...a y ...missing }")
    assert over_limit(document, LIMITS) is None


@given(st.integers(1, 6), st.integers(1, 4))
def test_a_fragment_costs_at_each_spread_what_its_text_would(levels: int, width: int) -> None:
    spread = "{ ...f0 } " + " ".join(
        f"fragment f{n} on Query {{ " + " ".join(f"...f{n + 1}" for _ in range(width)) + " }" for n in range(levels)
    )
    spread += f" fragment f{levels} on Query {{ times }}"
    most = width**levels
    assert over_limit(parse(spread), replace(LIMITS, fields=most)) is None
    assert over_limit(parse(spread), replace(LIMITS, fields=most - 1)) is not None


async def test_the_introspection_query_passes_the_default_limits() -> None:
    query = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        one_of=True,
    )
    result = await tiny_schema().execute(query)
    assert result.errors is None


async def test_introspection_that_winds_through_types_and_fields_is_refused() -> None:
    query = "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }"
    result = await tiny_schema().execute(query)
    assert "introspection" in str(result.errors).lower()


async def test_too_many_tokens_are_refused_by_the_parser() -> None:
    result = await tiny_schema(replace(LIMITS, tokens=5)).execute("{ a b c d e f }")
    [error] = result.errors or []
    assert "more than 5 tokens" in error.message
    assert error.extensions == {"code": RequestErrorCode.PARSE_FAILED}


async def test_a_short_document_is_parsed_and_validated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = tiny_schema()
    query = "{ times } # test_a_short_document_is_parsed_and_validated_once"
    await schema.execute(query)

    def not_again(*arguments: object, **options: object) -> None:
        raise AssertionError("parsed or validated again")

    monkeypatch.setattr("strawberry.schema.schema.parse", not_again)
    monkeypatch.setattr("graphql.language.parser.Parser", not_again)
    monkeypatch.setattr("app.graphql.cost.validate", not_again)
    result = await schema.execute(query)
    assert result.data == {"times": 6}


async def test_a_long_document_is_not_kept() -> None:
    cache = _get_parse_cache(128)
    before = cache.cache_info()  # type: ignore[attr-defined]
    result = await tiny_schema(replace(LIMITS, cached_chars=20)).execute("{ times } # " + "x" * 20)
    assert result.data == {"times": 6}
    assert cache.cache_info() == before  # type: ignore[attr-defined]


async def test_several_operations_need_a_name() -> None:
    schema = tiny_schema()
    document = "mutation a { count } mutation b { count }"
    context = Context("key")
    nameless = await schema.execute(document, context_value=context)
    assert [error.extensions for error in nameless.errors or []] == [{"code": RequestErrorCode.OPERATION_UNKNOWN}]
    assert context.calls == 0
    named = await schema.execute(document, context_value=context, operation_name="b")
    assert named.data == {"count": 1}


def test_every_limit_is_a_setting_with_the_same_default() -> None:
    assert OperationLimits.from_settings(Settings()) == OperationLimits()
    strict = read_settings(
        graphql_max_tokens=1,
        graphql_max_depth=2,
        graphql_max_fields=3,
        graphql_max_aliases=4,
        graphql_max_directives=5,
        graphql_max_operations=6,
        graphql_max_root_mutations=7,
        graphql_max_field_pairs=8,
        graphql_max_errors=9,
        graphql_cached_chars=10,
    )
    assert OperationLimits.from_settings(strict) == OperationLimits(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
