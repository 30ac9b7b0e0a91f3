"""A name server on loopback that says what it is told to say, true or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from moorage.doctor.client.names import NameServer

SECONDS = 30.0


class Liar:
    """Answers by UDP: *addresses* by name; *alias*: a CNAME for every name; *code*: that failure for all questions,
    *codes* by record type; *silent*: nothing at all; *garbage*: bytes that are no DNS."""

    def __init__(
        self,
        addresses: Mapping[str, Sequence[str]] | None = None,
        *,
        alias: str = "",
        code: str = "",
        codes: Mapping[str, str] | None = None,
        silent: bool = False,
        garbage: bool = False,
    ) -> None:
        self.addresses, self.alias, self.code, self.codes = dict(addresses or {}), alias, code, dict(codes or {})
        self.silent, self.garbage = silent, garbage
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.server = NameServer("127.0.0.1", self.socket.getsockname()[1])
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (self.server.address, self.server.port))
        self.thread.join(SECONDS)
        self.socket.close()

    def _serve(self) -> None:
        while True:
            wire, peer = self.socket.recvfrom(65536)
            if not wire:
                return
            if not self.silent:
                self.socket.sendto(self._answer(wire), peer)

    def _answer(self, wire: bytes) -> bytes:
        question = dns.message.from_wire(wire)
        if self.garbage:
            return wire[:2] + b"\xff" * 20
        reply = dns.message.make_response(question)
        asked = question.question[0]
        kind, name = dns.rdatatype.to_text(asked.rdtype), str(asked.name).rstrip(".")
        code = self.code or self.codes.get(kind, "")
        if code:
            reply.set_rcode(dns.rcode.from_text(code))
            return reply.to_wire()
        owner = str(asked.name)
        if self.alias:
            reply.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", f"{self.alias}."))
            owner = f"{self.alias}."
        if name not in self.addresses:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        wanted = [one for one in self.addresses.get(name, ()) if (":" in one) == (kind == "AAAA")]
        if wanted:
            reply.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, *wanted))
        return reply.to_wire()
