"""Which media type an answer has."""

from starlette.datastructures import Headers

from app.graphql.request import response_type


def test_an_accept_too_long_to_be_remembered_is_read_all_the_same() -> None:
    many = ", ".join(f"text/x-{n}" for n in range(100))
    assert response_type(Headers({"Accept": f"{many}, application/graphql-response+json"})) != "application/json"
    assert response_type(Headers({"Accept": f"{many}, application/json;q=0.1"})) == "application/json"
