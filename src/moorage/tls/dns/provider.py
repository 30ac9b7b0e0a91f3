"""dns-01 by a DNS provider's own API, through dns-lexicon, which knows some ninety of them. An optional extra."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from dns.exception import DNSException

from moorage.errors import CertificateFailed
from moorage.tls.dns.records import Record

_MOST_WORDS: Final = 600
_QUERY: Final = re.compile(r"\?[^\s'\"<>)]+")


class Provider:
    """Writes by the API of *provider*, with *options* by their names in dns-lexicon.

    What *options* leave out is taken from the environment, as in LEXICON_CLOUDFLARE_AUTH_TOKEN.
    """

    def __init__(self, provider: str, options: Mapping[str, str]) -> None:
        self._provider, self._options = provider, dict(options)

    def put(self, record: Record) -> str:
        """See Writer."""
        self._call(record, "create_record")
        return ""

    def remove(self, record: Record, output: str) -> None:
        """See Writer."""
        self._call(record, "delete_record")

    def _call(self, record: Record, operation: str) -> None:
        client, config, errors = _lexicon()
        try:
            with self._client(record, client, config) as operations:
                call = getattr(operations, operation)
                done = call(rtype="TXT", name=f"{record.name}.", content=record.value)
        except errors.ProviderNotAvailableError as error:
            raise _failed(
                f"dns-lexicon cannot use the provider {self._provider}: {self._words(error)}",
                "acme.dns.provider is spelled as in dns-lexicon's documentation",
            ) from error
        except Exception as error:
            # Each of ninety providers raises what it likes.
            raise _failed(
                f"the provider {self._provider} does not change {record.name}: {self._words(error)}",
                "look at acme.dns.provider_options, at the token's rights, and that the zone"
                f" {record.zone or 'of this name'} is this provider's",
            ) from error
        if not done and operation == "create_record":
            raise _failed(
                f"the provider {self._provider} does not change {record.name}", "the provider's own log may say why"
            )

    def _client(self, record: Record, client: Any, config: Any) -> Any:
        chosen = {"provider_name": self._provider, "domain": record.zone or record.name, self._provider: self._options}
        resolver = config.ConfigResolver().with_dict(chosen).with_env()
        if not record.zone:
            # It guesses by the list of public suffixes, which it fetches.
            return client.Client(resolver)
        source = config.DictConfigSource({"resolve_zone_name": "yes"})
        resolver.add_config_source(source, 0)
        try:
            lexicon = client.Client(resolver)
        except DNSException:
            # It asks the machine's resolver, which is not always the one that knows.
            resolver = config.ConfigResolver().with_dict(chosen).with_env()
            lexicon = client.Client(resolver)
        resolver.add_config_source(config.DictConfigSource({"domain": record.zone}), 0)
        return lexicon

    def _words(self, error: Exception) -> str:
        """What *error* says, without what is secret: some APIs take tokens in the URL."""
        text = _QUERY.sub("?...", " ".join(str(error).split()))
        given = [value for name, value in os.environ.items() if name.startswith("LEXICON_")]
        for value in [*self._options.values(), *given]:
            # Shorter ones are numbers and switches.
            if len(value) >= 4:
                text = text.replace(value, "...")
        return text[:_MOST_WORDS] or type(error).__name__


def _lexicon() -> tuple[Any, Any, Any]:
    try:
        names = ("lexicon.client", "lexicon.config", "lexicon.exceptions")
        client, config, errors = (importlib.import_module(name) for name in names)
    except ImportError as error:
        raise CertificateFailed(
            "acme.dns.method is provider, and dns-lexicon is not installed",
            kind="local",
            remedy="pip install 'moorage[dns]'",
            again=False,
        ) from error
    return client, config, errors


def _failed(message: str, remedy: str) -> CertificateFailed:
    return CertificateFailed(message, kind="dns", remedy=remedy)
