"""Requests to an authority: signed by `acme`, in one thread, with every answer judged before it is believed."""

from __future__ import annotations

import io
import json
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests
from acme import client, errors, messages
from josepy.jwa import ES256
from requests.adapters import HTTPAdapter

from moorage import __version__
from moorage.errors import CertificateFailed
from moorage.tls.acme.options import AcmeOptions
from moorage.tls.acme.problems import Problem, Refused, no_acme, parse_problem, unreachable

_MOST_BYTES: Final = 1 << 20
"""Of one answer. A chain has some 5 kB; arbitrary."""
_NONCE_ATTEMPTS: Final = 24
"""For one request. A nonce may be refused for no fault of ours (RFC 8555, 6.5); at one in two refused, as the worst
test server does, one request in 16 million still fails."""
_LONGEST_RETRY_AFTER: Final = 30 * 86400.0


class Answer:
    """What an authority answered, with a status of success."""

    def __init__(self, response: requests.Response, now: int) -> None:
        self.status = response.status_code
        self.body = response.content
        self.url = str(response.url)
        self.location = response.headers.get("Location", "")
        self.date = _date(response.headers.get("Date"))
        self.retry_after = retry_after(response.headers, now)
        self._links = response.headers.get("Link", "")

    def json(self) -> dict[str, Any]:
        """Its body as a JSON object. Raises CertificateFailed where it is none."""
        return _object(self.url, self.body)

    def link(self, relation: str) -> str | None:
        """The target of the Link with this relation (RFC 8288)."""
        for link in requests.utils.parse_header_links(self._links):
            if link.get("rel") == relation and isinstance(link.get("url"), str):
                target: str = link["url"]
                return target
        return None


class Network(client.ClientNetwork):
    """The library's network, with what it lacks: nonces tried again as often as it takes, bounded answers, problems as
    values, the system's trust, and failures in words.

    Raises Refused where the authority says no, CertificateFailed where there is no sensible answer.
    """

    def __init__(self, options: AcmeOptions, now: int) -> None:
        super().__init__(alg=ES256, user_agent=f"moorage/{__version__}")
        self._seconds = options.waits.network
        self._verify: bool | str = True
        self._now = now
        self.nonce_url = ""
        context = _trust(options)
        if options.ca_file is not None:
            self._verify = str(options.ca_file)
        else:
            self.session.mount("https://", _Adapter(context))

    def use_account(self, url: str | None) -> None:
        """Sign as the account *url* from now on; None: by the key itself, as a new account does."""
        self.account = None if url is None else messages.RegistrationResource(body=messages.Registration(), uri=url)

    def fetch(self, url: str) -> Answer:
        """GET. Raises CertificateFailed and Refused."""
        return Answer(self._check_response(self._send_request("GET", url)), self._now)

    def send(self, url: str, payload: Mapping[str, Any] | None, accept: str = "") -> Answer:
        """A signed POST of *payload*; None: POST-as-GET (RFC 8555, 6.3). Raises CertificateFailed and Refused."""
        headers = {"Content-Type": self.JOSE_CONTENT_TYPE} | ({"Accept": accept} if accept else {})
        body = None if payload is None else _Payload(payload)
        return Answer(self.post(url, body, headers=headers, new_nonce_url=self.nonce_url), self._now)

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As the library's, which gives up at the second refused nonce."""
        for _ in range(_NONCE_ATTEMPTS - 1):
            try:
                return self._post_once(*args, **kwargs)
            except Refused as refused:
                if refused.problem.kind != "badNonce":
                    raise
        return self._post_once(*args, **kwargs)

    @classmethod
    def _check_response(cls, response: requests.Response, content_type: str | None = None) -> requests.Response:
        if 200 <= response.status_code < 300:
            return response
        wait = retry_after(response.headers, _now_of(response))
        try:
            document = json.loads(response.content)
        except ValueError:
            document = None
        problem = parse_problem(document, response.status_code, wait)
        if problem.kind or problem.detail:
            raise Refused(problem)
        if response.status_code == 429:
            raise Refused(Problem("rateLimited", "HTTP 429", 429, retry_after=wait))
        if response.status_code >= 500:
            raise Refused(
                Problem("serverInternal", f"HTTP {response.status_code}", response.status_code, retry_after=wait)
            )
        # The body of an order that a test server has forgotten is empty.
        if response.status_code == 404 and not response.content:
            raise Refused(Problem("malformed", "HTTP 404", 404))
        raise no_acme(str(response.url), f"HTTP {response.status_code} and {_kind(response)}")

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        assert not args, "the library calls it with names"
        headers = {"User-Agent": self.user_agent, **kwargs.get("headers", {})}
        try:
            response = self.session.request(
                method,
                url,
                data=kwargs.get("data"),
                headers=headers,
                verify=self._verify,
                timeout=self._seconds,
                stream=True,
                # What is signed is signed for one URL.
                allow_redirects=method != "POST",
            )
            with response:
                received = self._receive(response)
        except (requests.RequestException, OSError, UnicodeError) as error:
            raise unreachable(url, error, self._now) from error
        if method == "POST" and not response.ok and self.REPLAY_NONCE_HEADER in response.headers:
            self._add_nonce(response)
        return received

    def _receive(self, response: requests.Response) -> requests.Response:
        """The whole answer, detached from its connection."""
        deadline = time.monotonic() + 2 * self._seconds
        body = b""
        for chunk in response.iter_content(65536):
            body += chunk
            if len(body) > _MOST_BYTES:
                raise no_acme(str(response.url), f"more than {_MOST_BYTES} bytes")
            if time.monotonic() > deadline:
                raise requests.ReadTimeout("it answers too slowly")
        whole = requests.Response()
        whole.status_code, whole.headers, whole.url = response.status_code, response.headers, response.url
        whole.request, whole.encoding, whole.raw = response.request, "utf-8", io.BytesIO(body)
        return whole

    def _add_nonce(self, response: requests.Response) -> None:
        # A success without a nonce is a success: the next request fetches one.
        if self.REPLAY_NONCE_HEADER in response.headers or response.request.method == "HEAD":
            try:
                super()._add_nonce(response)
            except errors.NonceError as error:
                raise no_acme(str(response.url), "no nonce where one belongs") from error


class _Payload:
    """JSON to be signed, in the shape that the library asks for."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self._payload = payload

    def json_dumps(self, **_: Any) -> str:
        return json.dumps(dict(self._payload))


class _Adapter(HTTPAdapter):
    """Trusts what the system trusts, beside what `requests` brings along."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)


def _trust(options: AcmeOptions) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca_file and str(options.ca_file))
    except (OSError, ValueError) as error:
        raise CertificateFailed(
            f"{options.ca_file} cannot be used as the authority of {options.directory}: {error}",
            kind="local",
            remedy="acme.ca_file is a PEM file with the root that signed the ACME server's own certificate",
        ) from error


def retry_after(headers: Mapping[str, str], now: int) -> float | None:
    """Seconds to wait by Retry-After (RFC 9110, 10.2.3): a number, or a date by the authority's clock. None: unsaid."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(float(text), _LONGEST_RETRY_AFTER)
    when = _date(text)
    if when is None:
        return None
    base = _date(headers.get("Date")) or now // 1_000_000
    return min(max(float(when - base), 0.0), _LONGEST_RETRY_AFTER)


def _date(text: str | None) -> int | None:
    """Seconds since the epoch of an HTTP date."""
    try:
        when = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _now_of(response: requests.Response) -> int:
    seconds = _date(response.headers.get("Date"))
    return (seconds if seconds is not None else int(datetime.now(UTC).timestamp())) * 1_000_000


def _object(url: str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise no_acme(url, _what(body)) from None
    if not isinstance(document, dict):
        raise no_acme(url, "JSON that is no object")
    return document


def _kind(response: requests.Response) -> str:
    return _what(response.content)


def _what(body: bytes) -> str:
    start = body.lstrip()[:200].lower()
    if not start:
        return "an empty body"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        return "an HTML page"
    return "something that is no JSON"
