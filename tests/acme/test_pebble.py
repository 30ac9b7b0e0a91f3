from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path

from cryptography import x509

from tests.acme.pebble import Pebble


def directory(pebble: Pebble) -> dict[str, object]:
    """What its directory says."""
    context = ssl.create_default_context(cafile=str(pebble.ca_file))
    with urllib.request.urlopen(pebble.directory, timeout=20, context=context) as response:
        answer: dict[str, object] = json.load(response)
        return answer


def test_it_answers_on_the_same_ports_after_a_restart_with_new_roots(tmp_path: Path) -> None:
    """A restart of the authority keeps its directory and forgets everything else."""
    with Pebble(tmp_path) as pebble:
        before = directory(pebble), pebble.roots()
        pebble.stop()
        pebble.start()

        after = directory(pebble), pebble.roots()

    assert before[0] == after[0]
    assert before[1] != after[1]
    assert x509.load_pem_x509_certificate(after[1]).issuer


def test_dns_answers_can_be_rewritten(tmp_path: Path) -> None:
    """A test decides what the authority's resolver sees."""
    with Pebble(tmp_path) as pebble:
        dns = pebble.dns

        dns.address("a.example", "127.0.0.2", "::1")
        dns.txt("_acme-challenge.a.example", "value")
        dns.txt("_acme-challenge.a.example", None)
        dns.servfail("b.example")
        dns.servfail("b.example", on=False)
        dns.caa("a.example", "other.example")
        dns.caa("a.example", None)
        dns.cname("c.example", "a.example")
        dns.cname("c.example", None)
        dns.default("")
