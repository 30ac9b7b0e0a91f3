"""The page at /trust: for browsers, for everything else, and for whoever sends something hostile."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.message import Request, Response
from moorage.public.trust import trust_page
from moorage.trust.place import parse_place
from moorage.trust.shell import PASTE_HERE
from moorage.trust.steps import KEYS, step, steps
from tests.programs import need

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class NoBody:
    length = 0


def ask(
    host: str | None,
    accept: bytes = b"*/*",
    *,
    query: str = "",
    secure: bool = True,
    names: tuple[str, ...] = (),
    extra: bytes = b"",
) -> Response:
    """The page that a client gets."""
    headers = {b"accept": accept} | ({} if host is None else {b"host": host.encode("utf-8")})
    request = Request("GET", "/trust", query, headers, frozenset(), NoBody(), "192.0.2.1", secure=secure)  # type: ignore[arg-type]
    return trust_page(request, names=names, port=5000, plain_ports=(80, 8080), extra=extra)


def headers(response: Response) -> dict[str, str]:
    """By name; AssertionError if one comes twice."""
    pairs = [line.split(": ", 1) for line in response.head.decode().splitlines()]
    assert len({name.lower() for name, _ in pairs}) == len(pairs)
    return {name.lower(): value for name, value in pairs}


class Page(HTMLParser):
    """What a browser would make of it: every element, and the text of each <pre>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.blocks: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "rect", "path", "polygon"}:
            self.open.append(tag)
        if tag == "pre":
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"rect", "path", "polygon"}:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.blocks[-1] += data
        if "style" not in self.open:
            self.text += data


def test_a_browser_gets_a_page_and_everything_else_text() -> None:
    """curl and wget take anything, PowerShell says nothing, and browsers ask for HTML."""
    assert headers(ask("registry:5000", BROWSER))["content-type"] == "text/html; charset=utf-8"
    for accept in (b"*/*", b"", b"application/json"):
        assert headers(ask("registry:5000", accept))["content-type"] == "text/plain; charset=utf-8"


def test_both_show_the_same_lines() -> None:
    """Every client's, as `steps` has them, in the text letter by letter and in the page as the browser shows it."""
    text = ask("registry:5000").body.decode()
    page = Page(ask("registry:5000", BROWSER).body.decode())

    for found in steps(parse_place("registry:5000")):
        assert f"\n\n{found.install}\n\n" in text
        assert f"\n\n{found.undo}\n" in text
        assert found.install in page.blocks
        assert found.undo in page.blocks
    assert page.open == []


def test_the_page_is_one_file_that_loads_nothing() -> None:
    """No script, no link to elsewhere; the policy allows its own style and nothing else, and no address is sent on."""
    answer = ask("registry:5000", BROWSER)
    page = Page(answer.body.decode())
    style = re.search(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()

    policy = headers(answer)["content-security-policy"]

    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "form", "input", "object"})
    assert [attributes for _, attributes in page.tags if "src" in attributes or "style" in attributes] == []
    assert [attributes["href"] for _, attributes in page.tags if "href" in attributes] == ["/ca.crt"]
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert headers(answer)["referrer-policy"] == "no-referrer"
    assert headers(answer)["cache-control"] == "no-store"
    assert headers(answer)["x-content-type-options"] == "nosniff"


def test_no_fingerprint_is_on_it() -> None:
    """It would be worth what the page is worth: nothing, before the authority is trusted. Its place is marked."""
    text = ask("registry:5000").body.decode()
    html = ask("registry:5000", BROWSER).body.decode()

    for page in (text, html):
        assert not re.search(r"\b[0-9A-Fa-f]{64}\b|(?:[0-9A-F]{2}:){10}", page)
    assert html.count(f"<mark>{PASTE_HERE}</mark>") == text.count(f"{PASTE_HERE}\n") > len(KEYS)


@pytest.mark.parametrize(
    ("host", "secure", "label"),
    [
        ("registry.example.com", True, "registry.example.com"),
        ("registry.example.com:443", True, "registry.example.com"),
        ("registry.example.com:5443", True, "registry.example.com:5443"),
        ("10.0.0.5:5000", True, "10.0.0.5:5000"),
        ("[fd00::1]:5000", True, "[fd00::1]:5000"),
        # Plain HTTP on the port that speaks TLS.
        ("registry.example.com:5000", False, "registry.example.com:5000"),
        ("registry.example.com:443", False, "registry.example.com"),
        # Plain HTTP on a port of its own.
        ("registry.example.com", False, "registry.example.com:5000"),
        ("registry.example.com:80", False, "registry.example.com:5000"),
        ("registry.example.com:8080", False, "registry.example.com:5000"),
    ],
)
def test_the_name_and_port_are_those_that_the_client_used(host: str, secure: bool, label: str) -> None:  # noqa: FBT001
    """Through a mapped port too; but plain HTTP beside TLS is not where the registry is."""
    text = ask(host, secure=secure).body.decode()

    assert f"How to trust the registry {label}\n" in text
    assert f"'https://{label}/ca.crt'" in text


def test_a_name_that_the_certificate_is_not_for_is_not_filled_in() -> None:
    """A client that came by it would refuse the certificate still; the page says so, and gives the right one."""
    names = ("*.example.net", "registry.example.com", "10.0.0.5")

    fits = [ask(host, names=names).body.decode() for host in ("registry.example.com", "10.0.0.5", "a.example.net")]
    other = ask("elsewhere:5000", names=names).body.decode()
    html = Page(ask("elsewhere:5000", BROWSER, names=names).body.decode()).text

    assert [page for page in fits if "You asked for" in page] == []
    assert "You asked for elsewhere" in other
    assert "elsewhere" not in other.replace("You asked for elsewhere", "")
    assert "'https://registry.example.com:5000/ca.crt'" in other
    assert "You asked for elsewhere" in html


def test_without_a_usable_host_the_certificates_name_is_taken_or_nothing() -> None:
    """HTTP/1.0 may have no Host; what is no host is not repeated."""
    for host in (None, "", "a b", "<script>"):
        assert "https://registry.example.com:5000/ca.crt" in ask(host, names=("registry.example.com",)).body.decode()
        assert ask(host).status == 400
        assert "script" not in ask(host).body.decode()


@given(st.text(alphabet=st.sampled_from("ab1.-:[]<>\"'&;/\\$`() %é=\t"), max_size=20), st.booleans())
def test_no_host_header_becomes_markup_or_a_command(host: str, secure: bool) -> None:  # noqa: FBT001
    """Whatever is filled in is a host; the page has the same elements as ever, and the lines the same shape."""
    plain = Page(ask("registry", BROWSER).body.decode())

    answer = ask(host, BROWSER, secure=secure)

    if answer.status == 200:
        page = Page(answer.body.decode())
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
        assert page.open == []
        heading = re.search(r"<h1>Trust <code>([a-z0-9.:\[\]-]+)</code></h1>", answer.body.decode())
        assert heading is not None
        assert [block.count("\n") for block in page.blocks] == [block.count("\n") for block in plain.blocks]


@pytest.mark.parametrize("key", KEYS)
def test_one_client_can_be_asked_for(key: str) -> None:
    """Its lines alone, open in the page."""
    found = step(parse_place("registry:5000"), key)

    text = ask("registry:5000", query=f"client={key}").body.decode()
    html = ask("registry:5000", BROWSER, query=f"x=1&client={key}").body.decode()

    assert found.install in text
    assert [other for other in KEYS if f"\n# {other}: " in text] == [key]
    assert re.findall(r'<details id="([^"]*)" open>', html) == [key]


@pytest.mark.parametrize("key", ["nobody", "<script>", "docker%20", "../docker"])
def test_a_client_that_nobody_knows_is_not_repeated(key: str) -> None:
    """The answer lists those that there are, as text."""
    answer = ask("registry:5000", BROWSER, query=f"client={key}")

    assert answer.status == 404
    assert headers(answer)["content-type"].startswith("text/plain")
    assert key not in answer.body.decode()
    assert "containerd" in answer.body.decode()


def test_headers_of_the_operator_are_sent_too() -> None:
    """And none twice."""
    answer = ask("registry:5000", BROWSER, extra=b"X-Content-Type-Options: nosniff\r\nX-Own: 1\r\n")

    assert headers(answer)["x-own"] == "1"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_text_piped_into_a_shell_does_nothing(shell: str, tmp_path: Path) -> None:
    """Whoever pipes it by mistake is told to read it."""
    done = subprocess.run(
        [need(shell)],
        input=ask("registry:5000").body,
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )

    assert done.returncode == 1
    assert b"is to be read" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_line_of_the_text_that_is_not_to_be_pasted_is_a_comment() -> None:
    """So that a part of the page pasted whole does no harm."""
    text = ask("registry:5000").body.decode()
    for found in steps(parse_place("registry:5000")):
        text = text.replace(found.install, "", 1).replace(found.undo, "", 1)

    rest = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert rest == ["echo 'This page is to be read: copy the lines of your client from it.' >&2; exit 1"]
