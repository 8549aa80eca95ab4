//! The systemd unit that the doctor recommends.

use crate::doctor::target::Target;
use crate::doctor::tuning::RULESET_PATH;

/// A unit for a server that is to hold the target.
#[must_use]
pub fn unit(target: &Target) -> String {
    let Target {
        connections, port, ..
    } = *target;
    let nofile = target.descriptors();
    format!(
        "# Generated from the doctor's rules by `just generate`; edit crates/host/src/doctor/emit/unit.rs.\n\
[Unit]
Description=Roadstead, a server that holds millions of mostly idle TCP connections
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
# Exempts the port from connection tracking, where `roadstead doctor --apply` found that it is tracked.
ExecStartPre=-+/usr/sbin/nft -f {RULESET_PATH}
ExecStart=/usr/bin/roadstead serve --listen 0.0.0.0:{port} --max-connections {connections}
DynamicUser=yes

# The limits of the shell and of limits.d do not reach a unit: these do.
LimitNOFILE={nofile}
LimitMEMLOCK=infinity
TasksMax=2048

# SIGTERM drains; the time to stop must be longer than --drain-timeout.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec=90
Restart=on-failure
# A wrong flag, or a host that cannot do it, does not get right by trying again.
RestartPreventExitStatus=2 78

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
# Contains @aio, and with it the calls of io_uring.
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"
    )
}

/// A drop-in that raises the descriptors of a unit that is installed already.
#[must_use]
pub fn unit_drop_in(nofile: u64) -> String {
    format!(
        "# Written by `roadstead doctor`; `roadstead doctor --revert` removes it.\n[Service]\nLimitNOFILE={nofile}\n"
    )
}
