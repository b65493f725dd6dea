"""A request as it was read."""

from app.graphql.request import GraphQLRequest


def test_its_repr_tells_neither_query_nor_variables() -> None:
    request = GraphQLRequest("{ canary }", "Send", {"key": "canary"}, {"more": "canary"})
    assert repr(request) == "GraphQLRequest(operation_name='Send')"
