"""Certificates from an authority by ACME (RFC 8555), over EFF's `acme` library.

    options        what an administrator chose, as finished values
    issuer         the Issuer: one order from beginning to end, and the renewal window
    network        signed requests, nonces, and every answer judged before it is believed
    directory      where the authority's resources are, and what it offers
    account        the account's key and URL, on disk before the authority knows of them
    orders         what an order needs to be gone on with after a crash
    challenges     which challenge to take, and how it is answered
    certificates   keys, requests, and whether what came back is what was asked for
    problems       what went wrong, in words, with a remedy

`options` and `issuer` are cheap to import; the library and its dependencies are loaded when they are first used.
"""

from moorage.tls.acme.issuer import AcmeIssuer
from moorage.tls.acme.options import AcmeOptions, Waits

__all__ = ["AcmeIssuer", "AcmeOptions", "Waits"]
