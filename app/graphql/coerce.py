"""Values of variables made into input objects in one walk; what is not just as the type says is left to graphql-core.

So its errors, and Strawberry's, stay theirs, and so do the rules that bend: one item for a list, 5.0 for 5.
"""

from collections.abc import Callable
from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from typing import Any

import strawberry
from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
    is_leaf_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

Coerce = Callable[[Any], Any]


class Unfit(Exception):
    """This value, or this operation, is for the full executor."""


def coercer(schema: strawberry.Schema, kind: GraphQLInputType) -> Coerce:
    """From a value of JSON to what a resolver gets for an argument of this type. It raises Unfit."""
    if isinstance(kind, GraphQLNonNull):
        return _not_null(_coercer(schema, kind.of_type))
    return _coercer(schema, kind)


def _coercer(schema: strawberry.Schema, kind: GraphQLInputType) -> Coerce:
    """It lets null pass."""
    if isinstance(kind, GraphQLList):
        return _list(coercer(schema, kind.of_type))
    if isinstance(kind, GraphQLInputObjectType) and not kind.is_one_of:
        return _input_object(schema, kind)
    if kind is GraphQLString:
        return _string
    if is_leaf_type(kind):
        return _leaf(kind.coerce_input_value)
    raise Unfit


def _not_null(coerce: Coerce) -> Coerce:
    def coerce_not_null(value: Any) -> Any:
        if value is None:
            raise Unfit
        return coerce(value)

    return coerce_not_null


def _list(coerce: Coerce) -> Coerce:
    def coerce_list(value: Any) -> list[Any] | None:
        if type(value) is list:
            return [coerce(item) for item in value]
        if value is not None:
            raise Unfit
        return None

    return coerce_list


def _string(value: Any) -> str | None:
    if type(value) is not str and value is not None:
        raise Unfit
    return value


def _leaf(coerce: Coerce) -> Coerce:
    def coerce_leaf(value: Any) -> Any:
        if value is None:
            return None
        try:
            return coerce(value)
        except Exception:
            raise Unfit from None

    return coerce_leaf


def _input_object(schema: strawberry.Schema, kind: GraphQLInputObjectType) -> Coerce:
    definition = kind.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    if definition.from_input is not None:
        raise Unfit
    made: type = definition.origin
    in_graphql = schema.config.name_converter.from_field
    fields = {
        in_graphql(field): (field.python_name, coercer(schema, kind.fields[in_graphql(field)].type))
        for field in definition.fields
    }
    required = [
        field.name for field in dataclass_fields(made) if field.default is MISSING and field.default_factory is MISSING
    ]

    def coerce_object(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict:
            raise Unfit
        given = {}
        for name, item in value.items():
            field = fields.get(name)
            if field is None:
                raise Unfit
            given[field[0]] = field[1](item)
        for name in required:
            if name not in given:
                raise Unfit
        return made(**given)

    return coerce_object
