"""What one GraphQL request may cost, measured before anything else looks at it.

The cost of a fragment is measured once and multiplied by arithmetic, so a fragment that spreads to 2^60 fields is
refused in the time it takes to read it. Parsing and validation are cached for documents of ordinary length.
Validation stops at a few errors: finding out what else is wrong costs far more than what is right.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    validate,
)
from strawberry.extensions import MaxTokensLimiter, ParserCache, SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from app.graphql.errors import MaskedSchema, RequestErrorCode
from app.graphql.overlap import count_pairs
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """The most that one document may hold. A fragment counts at every place it is spread."""

    tokens: int = 2000
    depth: int = 15
    fields: int = 500
    aliases: int = 50
    directives: int = 50
    operations: int = 10
    root_mutations: int = 10
    field_pairs: int = 1000
    """Fields of one name in one selection, pairwise."""
    errors: int = 10
    """Errors that validation finds before it stops."""
    cached_chars: int = 16_000
    """Longer documents are parsed and validated anew each time, so that the caches stay small."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "OperationLimits":
        """The limits as the operator set them: HELIOGRAPH_GRAPHQL_MAX_*."""
        return cls(
            tokens=settings.graphql_max_tokens,
            depth=settings.graphql_max_depth,
            fields=settings.graphql_max_fields,
            aliases=settings.graphql_max_aliases,
            directives=settings.graphql_max_directives,
            operations=settings.graphql_max_operations,
            root_mutations=settings.graphql_max_root_mutations,
            field_pairs=settings.graphql_max_field_pairs,
            errors=settings.graphql_max_errors,
            cached_chars=settings.graphql_cached_chars,
        )


def limit_extensions(limits: OperationLimits) -> list[Callable[[], SchemaExtension]]:
    """The Strawberry extensions, in order, that hold every operation of a schema to `limits`.

    They include the parser cache and the validation cache: add no other.
    """
    check_cached = lru_cache(maxsize=128)(_check)  # of this schema, and gone with it
    return [
        lambda: MaxTokensLimiter(limits.tokens),
        lambda: _ParserCache(limits),
        lambda: _CostThenValidationCache(limits, check_cached),
    ]


def over_limit(document: DocumentNode, limits: OperationLimits) -> str | None:
    """A sentence that names the first limit the document breaks, or None. Takes time linear in the document's size."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if len(operations) > limits.operations:
        return _too_many("operations", len(operations), limits.operations)
    measure = _Measure(node for node in document.definitions if isinstance(node, FragmentDefinitionNode))
    try:
        if problem := measure.first_over(document, limits):
            return problem
        pairs = count_pairs(document, limits.field_pairs)
    except RecursionError:
        return "The document nests its fragments too deeply."
    if pairs > limits.field_pairs:
        return f"The document has more than {limits.field_pairs} pairs of fields of the same name, which is the limit."
    return None


@dataclass(frozen=True, slots=True)
class _Cost:
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0

    def over(self, limits: OperationLimits, *, mutation: bool) -> str | None:
        checks = [
            ("levels", self.depth, limits.depth),
            ("fields", self.fields, limits.fields),
            ("aliases", self.aliases, limits.aliases),
            ("directives", self.directives, limits.directives),
        ]
        if mutation:
            checks.append(("root fields in a mutation", self.root_fields, limits.root_mutations))
        return next((_too_many(what, count, most) for what, count, most in checks if count > most), None)


class _Measure:
    """Costs of one document; each fragment's cost is worked out once."""

    def __init__(self, fragments: Iterable[FragmentDefinitionNode]) -> None:
        self._fragments = {fragment.name.value: fragment for fragment in fragments}
        self._costs: dict[str, _Cost] = {}

    def first_over(self, document: DocumentNode, limits: OperationLimits) -> str | None:
        for node in document.definitions:
            if isinstance(node, FragmentDefinitionNode):
                problem = self._fragment(node.name.value).over(limits, mutation=False)
            elif isinstance(node, OperationDefinitionNode):
                problem = self._operation(node).over(limits, mutation=node.operation is OperationType.MUTATION)
            else:
                continue
            if problem:
                return problem
        return None

    def _operation(self, node: OperationDefinitionNode) -> _Cost:
        cost = self._selections(node.selection_set)
        own = len(node.directives or ()) + sum(len(var.directives or ()) for var in node.variable_definitions or ())
        return replace(cost, directives=cost.directives + own)

    def _fragment(self, name: str) -> _Cost:
        if name not in self._costs:
            # An unknown fragment costs nothing, nor does one that spreads itself: validation refuses both.
            self._costs[name] = _Cost()
            if fragment := self._fragments.get(name):
                cost = self._selections(fragment.selection_set)
                self._costs[name] = replace(cost, directives=cost.directives + len(fragment.directives or ()))
        return self._costs[name]

    def _selections(self, selection_set: SelectionSetNode) -> _Cost:
        fields = root_fields = aliases = directives = depth = 0
        for node in selection_set.selections:
            directives += len(node.directives or ())
            if isinstance(node, FieldNode):
                below = self._selections(node.selection_set) if node.selection_set else _Cost()
                aliases += node.alias is not None
                fields, root_fields, depth = fields + 1, root_fields + 1, max(depth, below.depth + 1)
            elif isinstance(node, FragmentSpreadNode):
                below = self._fragment(node.name.value)
                root_fields, depth = root_fields + below.root_fields, max(depth, below.depth)
            elif isinstance(node, InlineFragmentNode):
                below = self._selections(node.selection_set)
                root_fields, depth = root_fields + below.root_fields, max(depth, below.depth)
            else:
                continue
            fields, aliases, directives = fields + below.fields, aliases + below.aliases, directives + below.directives
        return _Cost(fields, root_fields, aliases, directives, depth)


def _too_many(what: str, count: int, most: int) -> str:
    # A fragment bomb's count has 18 digits or more, and tells nobody anything.
    counted = str(count) if count < 1_000_000 else "over a million"
    return f"The document has {counted} {what}; the limit is {most}."


class _ParserCache(ParserCache):
    """Strawberry's parser cache, for documents short enough to keep."""

    def __init__(self, limits: OperationLimits) -> None:
        super().__init__()
        self._limits = limits

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        if _is_short(context.query, self._limits):
            # A syntax error leaves no document: Strawberry then parses again, where it can report the error
            # over WebSocket too. Raised from here, it would end the subscription without a word.
            with suppress(GraphQLError):
                context.graphql_document = self.cached_parse_document(context.query, **context.parse_options)
        yield


class _CostThenValidationCache(SchemaExtension):
    """Refuse what costs too much or is ambiguous; only then validate as Strawberry does, but for the number of errors.
    From a cache where the document is short."""

    def __init__(self, limits: OperationLimits, check_cached: Callable[..., tuple[GraphQLError, ...]]) -> None:
        super().__init__()
        self._limits = limits
        self._check_cached = check_cached

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            short, named = _is_short(context.query, self._limits), context._provided_operation_name is not None
            check = self._check_cached if short else _check
            parsed, rules = _Parsed(context.query or "", document), tuple(context.validation_rules)
            errors = check(context.schema._schema, parsed, rules, self._limits, named)
            context.pre_execution_errors = list(errors)
            if short and not errors and isinstance(context.schema, MaskedSchema):
                context.schema.found_valid(context)
        yield


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A document, told from others by its text: telling it by its nodes takes longer than looking at them."""

    query: str
    document: DocumentNode = field(compare=False)


def _check(
    schema: GraphQLSchema,
    parsed: _Parsed,
    rules: tuple[type[ASTValidationRule], ...],
    limits: OperationLimits,
    named: bool,
) -> tuple[GraphQLError, ...]:
    """`named`: the request says which of its operations is to be run."""
    document = parsed.document
    if problem := over_limit(document, limits):
        return (GraphQLError(problem, extensions={"code": RequestErrorCode.LIMIT_EXCEEDED.value}),)
    # Strawberry would run the first of several operations; the specification wants a choice.
    if not named and sum(isinstance(node, OperationDefinitionNode) for node in document.definitions) > 1:
        problem = "The document holds several operations: name the one to run in operationName."
        return (GraphQLError(problem, extensions={"code": RequestErrorCode.OPERATION_UNKNOWN.value}),)
    every_rule = (*rules, MaybeNullValidationRule, OneOfInputValidationRule)
    return tuple(validate(schema, document, every_rule, max_errors=limits.errors))


def _is_short(query: str | None, limits: OperationLimits) -> bool:
    return query is not None and len(query) <= limits.cached_chars
