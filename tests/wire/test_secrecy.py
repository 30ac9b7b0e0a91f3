import pytest

from tests.secrecy import leaks

SECRET = "s3cret-word!"


@pytest.mark.parametrize(
    "line",
    [
        'the password is "s3cret-word!"',
        "GET /v2/?password=s3cret-word%21",
        "header YWxpY2U6czNjcmV0LXdvcmQh",
        '{"authorization": "Bearer abc"}',
        "Authorization: Basic Og==",
        "client sent Basic dXNlcjpwYXNzd29yZA==",
        "token of the operator: t0ken",
    ],
)
def test_secret_is_found(line: str) -> None:
    """The check that every server's log goes through sees a password in each form that a client may send."""
    assert leaks(f"before\n{line}\nafter", {"alice": SECRET}, ["t0ken"]) == [line]


@pytest.mark.parametrize(
    "line",
    [
        'Basic realm="Moorage"',
        "more than one Authorization header",
        "this registry takes Basic credentials only",
        '{"path": "/v2/Authorization:"}',
        "alice pulled s3cret",
    ],
)
def test_harmless_line_is_let_through(line: str) -> None:
    """Words about credentials are no credentials."""
    assert leaks(line, {"alice": SECRET, "bob": ""}) == []
