"""The one place where an operating system's error becomes an answer."""

from __future__ import annotations

import errno

from moorage.errors import RegistryError, StorageFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def fault(error: OSError) -> RegistryError:
    """StorageFull for a used-up disk, quota or file size limit, Unavailable for everything else.

    To be raised `from` *error*, which holds the path for the log; the answer itself names no path of the server.
    """
    if error.errno in _FULL:
        return StorageFull()
    return Unavailable()
