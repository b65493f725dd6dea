"""The real schema, asked without HTTP."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any

from strawberry.types import ExecutionResult

from app.graphql.compiled import CompilingSchema
from app.graphql.context import Context, Parts
from app.graphql.errors import MaskedSchema
from app.graphql.schema import make_schema


@cache
def real_schema(which: str = "compiles") -> CompilingSchema:
    """The real schema; each of them is made once for all tests of a worker: that takes a while."""
    return make_schema()


@dataclass(frozen=True, slots=True)
class Api:
    """Asks as the API key `key`, each time in a context of its own."""

    schema: MaskedSchema
    parts: Parts
    key: str | None

    def as_key(self, key: str | None) -> "Api":
        """The same, asking as another API key, or as nobody."""
        return Api(self.schema, self.parts, key)

    async def execute(self, query: str, **variables: Any) -> ExecutionResult:
        """Whatever the schema answers."""
        result = await self.schema.execute(
            query, variable_values=variables, context_value=Context(self.parts, self.key, origin=ORIGIN)
        )
        assert isinstance(result, ExecutionResult)
        return result

    async def follow(self, query: str, **variables: Any) -> AsyncGenerator[ExecutionResult, None]:
        """Each answer, as over a WebSocket."""
        context = Context(self.parts, self.key, is_socket=True, origin=ORIGIN)
        stream = await self.schema.stream(query, variable_values=variables, context_value=context)
        async with aclosing(stream):
            async for result in stream:
                assert isinstance(result, ExecutionResult)
                yield result

    async def first(self, query: str, **variables: Any) -> ExecutionResult:
        """The first answer to any operation."""
        if not query.startswith("subscription"):
            return await self.execute(query, **variables)
        async with aclosing(self.follow(query, **variables)) as results:
            return await anext(results)

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data; there must be no error."""
        result = await self.execute(query, **variables)
        assert result.errors is None, result.errors
        assert result.data is not None
        return result.data

    async def refused(self, query: str, **variables: Any) -> Mapping[str, Any]:
        """The extensions of the one top-level error; there must be no other."""
        result = await self.execute(query, **variables)
        assert result.errors is not None, result.data
        (error,) = result.errors
        return error.extensions or {}

    async def mutate(self, mutation: str, selection: str, /, **given: Any) -> dict[str, Any]:
        """The payload of `mutation` with this input; its user errors always come along."""
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        document = f"mutation ($input: {kind}!) {{ {mutation}(input: $input) {{ {selection} {USER_ERRORS} }} }}"
        payload: dict[str, Any] = (await self.ask(document, input=given))[mutation]
        return payload


ORIGIN = "192.0.2.7"
USER_ERRORS = "userErrors { code field message retryable }"


def codes(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Path and code of each user error of a payload."""
    return [(".".join(error["field"] or ()), error["code"]) for error in payload["userErrors"]]
