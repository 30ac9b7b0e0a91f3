"""The exit code of every failure, in one table."""

from __future__ import annotations

from typing import Final

from moorage.errors import (
    CertificateFailed,
    ConfigurationError,
    DataError,
    MoorageError,
    RefusedForNow,
    RegistryError,
    StartRefused,
    Unwell,
    UserError,
    Warned,
)

# The first line whose class fits counts. 2 is click's, for a command line that cannot be read.
EXIT_CODES: tuple[tuple[type[BaseException], int, str], ...] = (
    (ConfigurationError, 3, "a setting is wrong; the message names file, key and line"),
    (StartRefused, 4, "the server will not start, or the data folder cannot be used; the message says what to do"),
    (DataError, 5, "what is stored contradicts itself"),
    (CertificateFailed, 8, "no certificate could be had; the message says why and what to check"),
    (UserError, 6, "the command cannot be done as typed; nothing was changed"),
    (RegistryError, 7, "the registry's storage or database refused"),
    (OSError, 7, "the registry's storage or database refused"),
    (Warned, 10, "`moorage doctor` found nothing wrong, and gave warnings"),
    (Unwell, 9, "`moorage doctor` found something wrong; its output says what it means and how to mend it"),
    (MoorageError, 1, "something else went wrong"),
    (KeyboardInterrupt, 130, "interrupted from the keyboard; so is a question that nobody answers"),
)


FOR_SYSTEMD: Final = 78
"""EX_CONFIG of sysexits.h, which systemd is told by RestartPreventExitStatus= not to repeat."""
FOR_SYSTEMD_MEANING: Final = (
    "instead of 3 and 4, from a server that systemd has started and that it is useless to start again before somebody"
    " has mended something"
)


def useless_to_repeat(error: BaseException) -> bool:
    """Whether a server that ended with *error* will end so again until a person does something."""
    return isinstance(error, ConfigurationError | StartRefused) and not isinstance(error, RefusedForNow)


def exit_code(error: BaseException) -> int:
    """The code for *error*; 1 for what is not in the table."""
    return next((code for kind, code, _ in EXIT_CODES if isinstance(error, kind)), 1)
