"""What an operation selects of an object made into a dict in one walk, where all of it is there without a resolver."""

from collections.abc import Callable
from typing import Any

import strawberry
from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    SelectionSetNode,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

from app.graphql.coerce import Unfit

Select = Callable[[Any], Any]

_AS_THEY_ARE = {"String", "ID", "Boolean", "JSON"}


def selector(
    schema: strawberry.Schema, kind: GraphQLOutputType, node: FieldNode, later: FieldNode | None = None
) -> Select:
    """From the value of this field, of this type, to what the answer shows of it; None for the field `later`, which the
    caller fills in. Raises Unfit."""
    if isinstance(kind, GraphQLNonNull):
        return _selector(schema, kind.of_type, node, later)
    select = _selector(schema, kind, node, later)
    return select if select is _as_it_is else lambda value: None if value is None else select(value)


def plain_fields(selection_set: SelectionSetNode | None) -> dict[str, FieldNode]:
    """The selected fields by their response keys. Raises Unfit for fragments, directives, arguments, and one key that
    stands twice."""
    fields: dict[str, FieldNode] = {}
    for node in selection_set.selections if selection_set else ():
        if not isinstance(node, FieldNode) or node.directives or node.arguments or response_key(node) in fields:
            raise Unfit
        fields[response_key(node)] = node
    return fields


def response_key(node: FieldNode) -> str:
    """What the field is called in the answer."""
    return (node.alias or node.name).value


def _selector(schema: strawberry.Schema, kind: GraphQLOutputType, node: FieldNode, later: FieldNode | None) -> Select:
    if isinstance(kind, GraphQLList):
        select = selector(schema, kind.of_type, node, later)
        return list if select is _as_it_is else lambda values: [select(value) for value in values]
    if isinstance(kind, GraphQLObjectType):
        return _object_selector(schema, kind, node, later)
    if isinstance(kind, GraphQLEnumType):
        names = {kind.coerce_input_value(name).value: name for name in kind.values}
        return lambda member: names[member._value_]
    if isinstance(kind, GraphQLScalarType):
        return _as_it_is if kind.name in _AS_THEY_ARE else kind.coerce_output_value
    raise Unfit


def _object_selector(
    schema: strawberry.Schema, kind: GraphQLObjectType, node: FieldNode, later: FieldNode | None
) -> Select:
    definition = kind.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    there = {schema.config.name_converter.from_field(field): field for field in definition.fields}
    shown: list[tuple[str, str, Select | None]] = []
    for key, selected in plain_fields(node.selection_set).items():
        name = selected.name.value
        if name == "__typename":
            shown.append((key, "__class__", lambda _: kind.name))
        elif selected is later:
            shown.append((key, "__class__", lambda _: None))
        elif there[name].base_resolver or there[name].extensions:
            raise Unfit
        else:
            select = selector(schema, kind.fields[name].type, selected, later)
            shown.append((key, there[name].python_name, None if select is _as_it_is else select))

    def select_object(value: Any) -> dict[str, Any]:
        answer = {}
        for key, name, select in shown:
            found = getattr(value, name)
            answer[key] = found if select is None else select(found)
        return answer

    return select_object


def _as_it_is(value: Any) -> Any:
    return value
