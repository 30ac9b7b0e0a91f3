"""One tree of errors; leaves carry facts, each face turns them into its own words in one place.

MoorageError
├── RegistryError              a request that the protocol has a code for (distribution-spec, "Error Codes")
│   ├── Unauthorized           UNAUTHORIZED           401
│   ├── Denied                 DENIED                 403
│   ├── NameInvalid            NAME_INVALID           400
│   ├── NameUnknown            NAME_UNKNOWN           404
│   ├── TagInvalid             TAG_INVALID            400
│   ├── ManifestInvalid        MANIFEST_INVALID       400
│   ├── ManifestUnverified     MANIFEST_UNVERIFIED    400
│   ├── ManifestUnknown        MANIFEST_UNKNOWN       404
│   ├── ManifestBlobUnknown    MANIFEST_BLOB_UNKNOWN  400
│   ├── BlobUnknown            BLOB_UNKNOWN           404
│   ├── BlobUploadUnknown      BLOB_UPLOAD_UNKNOWN    404
│   ├── BlobUploadInvalid      BLOB_UPLOAD_INVALID    400
│   ├── DigestInvalid          DIGEST_INVALID         400
│   ├── SizeInvalid            SIZE_INVALID           400
│   ├── TooLarge               SIZE_INVALID           413
│   ├── RangeInvalid           RANGE_INVALID          416
│   ├── PaginationNumberInvalid  PAGINATION_NUMBER_INVALID  400
│   ├── Unsupported            UNSUPPORTED            405
│   ├── UploadBusy             BLOB_UPLOAD_INVALID    409
│   ├── TooManyRequests        TOOMANYREQUESTS        429
│   ├── StorageFull            UNAVAILABLE            507
│   └── Unavailable            UNAVAILABLE            503
├── ClientGone                 the peer closed or went silent in mid-body; nobody is left to answer
├── BadRequest                 HTTP that cannot be understood: 400, 408, 413, 431 without a protocol code
├── ConfigurationError         settings, with file, key and line
├── StartRefused               the server will not start, and why
│   └── RefusedForNow          for a reason that may pass by itself
├── CertificateFailed          an authority did not issue, and what to do about it
├── UserError                  a management command that cannot be done as typed
├── Unwell                     the diagnosis found something wrong
│   └── Warned                 it found nothing wrong, and gave warnings
└── DataError                  what is stored contradicts itself
"""

from __future__ import annotations


class MoorageError(Exception):
    """Never raised itself."""


class RegistryError(MoorageError):
    """A request that fails with one of the protocol's codes.

    *message* is for a person and may be shown to the client; *detail* is any JSON value. Neither may hold a secret.
    """

    code = "UNKNOWN"
    status = 500
    default = "unknown error"

    def __init__(self, message: str | None = None, detail: object = None) -> None:
        self.message = message or self.default
        self.detail = detail
        super().__init__(self.message)


class Unauthorized(RegistryError):
    """Nobody known asks, or the credentials are wrong."""

    code, status, default = "UNAUTHORIZED", 401, "authentication required"


class Denied(RegistryError):
    """A known principal may not do this."""

    code, status, default = "DENIED", 403, "requested access to the resource is denied"


class NameInvalid(RegistryError):
    """The repository name does not match the grammar."""

    code, status, default = "NAME_INVALID", 400, "invalid repository name"


class NameUnknown(RegistryError):
    """No such repository, as far as this principal may know."""

    code, status, default = "NAME_UNKNOWN", 404, "repository name not known to registry"


class TagInvalid(RegistryError):
    """The tag does not match the grammar."""

    code, status, default = "TAG_INVALID", 400, "invalid tag"


class ManifestInvalid(RegistryError):
    """The manifest is not one, or contradicts itself."""

    code, status, default = "MANIFEST_INVALID", 400, "manifest invalid"


class ManifestUnverified(RegistryError):
    """A Docker schema 1 manifest, whose signatures this registry does not check."""

    code, status, default = "MANIFEST_UNVERIFIED", 400, "manifest failed signature verification"


class ManifestUnknown(RegistryError):
    """No such manifest in this repository."""

    code, status, default = "MANIFEST_UNKNOWN", 404, "manifest unknown"


class ManifestBlobUnknown(RegistryError):
    """The manifest names a blob or manifest that this repository does not have."""

    code, status, default = "MANIFEST_BLOB_UNKNOWN", 400, "manifest references a manifest or blob unknown to registry"


class BlobUnknown(RegistryError):
    """No such blob in this repository."""

    code, status, default = "BLOB_UNKNOWN", 404, "blob unknown to registry"


class BlobUploadUnknown(RegistryError):
    """No such upload session for this repository and principal."""

    code, status, default = "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"


class BlobUploadInvalid(RegistryError):
    """The upload cannot go on as asked."""

    code, status, default = "BLOB_UPLOAD_INVALID", 400, "blob upload invalid"


class UploadBusy(RegistryError):
    """Another request is writing to the same upload session."""

    code, status, default = "BLOB_UPLOAD_INVALID", 409, "another request is writing to this upload"


class DigestInvalid(RegistryError):
    """A digest is malformed, of an unsupported algorithm, or does not match the content."""

    code, status, default = "DIGEST_INVALID", 400, "provided digest did not match uploaded content"


class SizeInvalid(RegistryError):
    """A length does not match the content."""

    code, status, default = "SIZE_INVALID", 400, "provided length did not match content length"


class TooLarge(RegistryError):
    """The body is larger than this server accepts."""

    code, status, default = "SIZE_INVALID", 413, "the body is larger than this registry accepts"


class RangeInvalid(RegistryError):
    """A range cannot be satisfied or a chunk is out of order.

    *headers* are further response headers: `Content-Range` for a blob, `Location` and `Range` for an upload.
    """

    code, status, default = "RANGE_INVALID", 416, "invalid range"

    def __init__(
        self, message: str | None = None, detail: object = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, detail)
        self.headers = headers


class PaginationNumberInvalid(RegistryError):
    """`n` is not a whole number of items that may be asked for."""

    code, status, default = "PAGINATION_NUMBER_INVALID", 400, "invalid number of results requested"


class Unsupported(RegistryError):
    """The operation is not supported, or switched off."""

    code, status, default = "UNSUPPORTED", 405, "the operation is unsupported"

    def __init__(self, message: str | None = None, detail: object = None, allow: tuple[str, ...] = ()) -> None:
        super().__init__(message, detail)
        self.allow = allow


class TooManyRequests(RegistryError):
    """A limit per principal, address or server is reached; *retry_after* is in seconds."""

    code, status, default = "TOOMANYREQUESTS", 429, "too many requests"

    def __init__(self, message: str | None = None, detail: object = None, retry_after: int = 1) -> None:
        super().__init__(message, detail)
        self.retry_after = retry_after


class StorageFull(RegistryError):
    """The disk, its quota or its inodes are used up (ENOSPC, EDQUOT)."""

    code, status, default = "UNAVAILABLE", 507, "the registry's storage is full"


class Unavailable(RegistryError):
    """Storage or database cannot be used now (EIO, EACCES, EROFS, a lost connection).

    *retry_after* is in seconds, where it is known when it can.
    """

    code, status, default = "UNAVAILABLE", 503, "the registry's storage is unavailable"

    def __init__(self, message: str | None = None, detail: object = None, retry_after: int | None = None) -> None:
        super().__init__(message, detail)
        self.retry_after = retry_after


class ClientGone(MoorageError):
    """The peer closed the connection, or sent nothing for the idle time, in the middle of a body."""


class BadRequest(MoorageError):
    """HTTP that cannot be understood, before any face sees it."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class ConfigurationError(MoorageError):
    """A setting that is wrong: *source* is a file, an environment variable or an option; *line* counts from 1."""

    def __init__(
        self, message: str, source: str | None = None, key: str | None = None, line: int | None = None
    ) -> None:
        self.message, self.source, self.key, self.line = message, source, key, line
        where = ":".join(str(part) for part in (source, line) if part is not None)
        super().__init__(": ".join(part for part in (where, key, message) if part))


class StartRefused(MoorageError):
    """The server will not start; the message says why and what to do."""


class RefusedForNow(StartRefused):
    """It may start without a change by a person: a port, an address or the data folder may be free soon."""


class CertificateFailed(MoorageError):
    """No certificate could be had, or the authority could not be asked.

    *kind* names the cause: an ACME error type without its prefix ("dns", "caa", "rateLimited", ...; RFC 8555, 6.7), or
    "unreachable", "not-acme", "clock", "challenge", "local". *message* says what happened to which name, *remedy* what
    to check or do. *retry_after* is in seconds, where the authority says. *again* False: trying again without a change
    by a person is useless.
    """

    def __init__(
        self, message: str, *, kind: str, remedy: str = "", retry_after: float | None = None, again: bool = True
    ) -> None:
        self.message, self.kind, self.remedy = message, kind, remedy
        self.retry_after, self.again = retry_after, again
        super().__init__(f"{message}; {remedy}" if remedy else message)


class UserError(MoorageError):
    """A management command that cannot be done as typed; the message says what to type instead."""


class DataError(MoorageError):
    """What is stored contradicts itself; `moorage check` says more."""


class Unwell(MoorageError):
    """The diagnosis found something wrong; what it printed says what, and what to do."""


class Warned(Unwell):
    """The diagnosis found nothing wrong, and gave warnings."""
