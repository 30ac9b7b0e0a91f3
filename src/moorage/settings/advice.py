"""What has to be said about settings that are valid."""

from __future__ import annotations

from typing import Literal

from moorage.settings.model import Settings


def advice(settings: Settings, mode: Literal["native", "classic"]) -> tuple[str, ...]:
    """Sentences for the start of a server with these settings; none in the ordinary case."""
    sentences = []
    if settings.auth.kind == "none":
        what = "pull" if settings.storage.read_only else "pull and push"
        if settings.storage.delete_enabled and not settings.storage.read_only:
            what = "pull, push and delete"
        how = (
            "set REGISTRY_AUTH=htpasswd and REGISTRY_AUTH_HTPASSWD_PATH"
            if mode == "classic"
            else "set auth.kind to users or htpasswd"
        )
        sentences.append(
            f"nobody is asked for a password: whoever reaches {', '.join(settings.listen)} may {what} everything; "
            f"to change that, {how}"
        )
    elif mode == "classic" and (exposed := _exposed(settings)):
        sentences.append(
            f"passwords travel in the clear: {', '.join(exposed)} can be reached from other machines without TLS; "
            "set REGISTRY_HTTP_TLS_CERTIFICATE and REGISTRY_HTTP_TLS_KEY, or let only a proxy that speaks TLS reach it"
        )
    if settings.auth.anonymous_pull and settings.auth.kind != "none":
        sentences.append(
            "auth.anonymous_pull is on: clients that ask only once, at /v2/, whether a password is needed (Docker's "
            "classic engine, up to version 28) still have to log in to pull; all others need not"
        )
    return tuple(sentences)


def _exposed(settings: Settings) -> list[str]:
    return [] if settings.certificates_from is not None else list(settings.exposed)
