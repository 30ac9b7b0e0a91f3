"""The systemd unit that `moorage install` writes, and why each of its lines is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.errors import UserError
from moorage.server.inherited import MOST

MARK: Final = "# Made by `moorage install`"
"""How a unit that this program wrote begins."""

_UNIT: Final = (
    MARK
    + """, which writes it anew. What you change with `systemctl edit moorage` stays.
[Unit]
Description=Moorage container registry
Wants=network-online.target
After=network-online.target nss-lookup.target postgresql.service
RequiresMountsFor={data}
# What may pass, such as a database that is not up yet, is tried as long as it takes.
StartLimitIntervalSec=0

[Service]
# It says when it serves, and goes on saying so; a server that hangs is started again.
Type=notify
WatchdogSec=60
# The first start on a large volume gives every file in it to the service's user.
TimeoutStartSec=infinity
ExecStart={program} serve --config {config} --run-as {user}
ExecReload=/bin/kill -HUP $MAINPID

# Started again whatever happens, but after a mistake that only a person can mend (2: in ExecStart=, 78: elsewhere).
Restart=always
RestartSec=2
RestartPreventExitStatus=2 78
# systemd keeps what it listens on: while it is started again, connections wait and are not refused.
FileDescriptorStoreMax={sockets}
# Running requests have http.drain_timeout to end.
KillMode=mixed
TimeoutStopSec={stop_seconds}
LimitNOFILE=524288
UMask=0027

# Root binds the ports and reads keys that only root may read, certbot's among them, also when they change; it reads no
# request. What faces the network is a process of {user} without any right. The capabilities are what that takes.
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE
NoNewPrivileges=yes

# It writes to its data and to nothing else.
ProtectSystem=strict
ReadWritePaths={writable}
RuntimeDirectory=moorage
RuntimeDirectoryPreserve=restart
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
)


@dataclass(frozen=True, slots=True)
class Service:
    """What a unit is made from.

    *writable* are the folders that it writes to, *data* first; *sees_home*: it reads something below /home.
    *drain_seconds* is `http.drain_timeout`.
    """

    program: Path
    config: Path
    user: str
    writable: Sequence[Path]
    sees_home: bool
    drain_seconds: float


def render(service: Service) -> str:
    """The whole unit. Raises UserError for a path that a unit cannot name."""
    for path in (service.program, service.config, *service.writable):
        if any(character in str(path) for character in " \t\n\"'\\%$;"):
            raise UserError(f"{path}: a systemd unit cannot name a path with blanks or one of \"'\\%$;")
    return _UNIT.format(
        program=service.program,
        config=service.config,
        user=service.user,
        data=service.writable[0],
        writable=" ".join(map(str, service.writable)),
        home="read-only" if service.sees_home else "yes",
        sockets=MOST,
        # Workers, then background work, then those that have to be ended by force.
        stop_seconds=int(service.drain_seconds) + 30,
    )
