#!/bin/busybox sh
# The init of the guest that run.sh boots: puts the doctor and the scripts through a whole cure, and checks every
# step against the kernel itself.

/bin/busybox --install -s /bin
export PATH=/bin:/programs:/usr/sbin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ip link set lo up
for module in /modules/*; do insmod "$module"; done

passed=0
failed=0
connections=50000

# check WHAT COMMAND…: one line for each step, with the command's output where it fails.
check() {
    what=$1
    shift
    if "$@" >/tmp/output 2>&1; then
        passed=$((passed + 1))
        echo "ok      $what"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        sed 's/^/        /' /tmp/output
    fi
}

doctor() { roadstead doctor --connections "$connections" "$@"; }
refuses() { doctor; [ $? = 1 ]; }

# All that the doctor may change, as text.
snapshot() {
    roadstead doctor --emit sysctl | sed -n 's/ = .*//p' | while read -r name; do
        echo "$name $(cat "/proc/sys/$(echo "$name" | tr . /)" 2>&1)"
    done
    nft list ruleset
    find /etc /var/lib -type f -exec md5sum {} +
    find /etc /var/lib -type d
}
as_before() { snapshot >/tmp/after; diff /tmp/before /tmp/after; }

# Every value of the drop-in is in force.
live_as_written() {
    grep -q ' = ' /etc/sysctl.d/90-roadstead.conf || return 1
    sed -n 's/ = /|/p' /etc/sysctl.d/90-roadstead.conf | while IFS='|' read -r name value; do
        now=$(tr -s '\t' ' ' <"/proc/sys/$(echo "$name" | tr . /)")
        [ "$now" = "$value" ] || { echo "$name is $now, not $value"; exit 1; }
    done
}

# Asks again every 50 ms until the command succeeds, for ten seconds.
waits_for() {
    for _ in $(seq 200); do
        "$@" && return 0
        usleep 50000
    done
    return 1
}

# echo_through PORT: a connection to a server there, which must answer; it stays open for the counting.
echo_through() {
    exec 3>&-
    mkfifo /tmp/in 2>/dev/null
    nc 127.0.0.1 "$1" </tmp/in >/tmp/answer &
    exec 3>/tmp/in
    echo hello >&3
    waits_for grep -q hello /tmp/answer
}

# How many established connections to a port are tracked; nothing at all where conntrack does not answer.
tracked() {
    conntrack -L -p tcp --dport "$1" >/tmp/tracked || return 1
    grep -c ESTABLISHED /tmp/tracked
}

# serve PORT: the server itself, on io_uring or not at all, until it says that it listens. The socket alone says
# nothing: before the server's there is for a moment the one by which it finds out whether the port is tracked.
serve() {
    roadstead serve --engine uring --listen "127.0.0.1:$1" --max-connections 100 >"/tmp/serve.$1" 2>&1 &
    waits_for grep -q "listening.*:$1" "/tmp/serve.$1" || { cat "/tmp/serve.$1"; return 1; }
}
is_tracked() { serve "$1" && echo_through "$1" && [ "$(tracked "$1")" -ge 1 ]; }
is_untracked() { serve "$1" && echo_through "$1" && [ "$(tracked "$1")" = 0 ]; }
stop_servers() {
    exec 3>&-
    killall roadstead nc 2>/dev/null
    wait
    conntrack -F 2>/dev/null
    : >/tmp/answer
}

# A firewall that tracks, as hosts have: without one the kernel tracks nothing.
nft -f - <<'END'
table inet firewall {
    chain input {
        type filter hook input priority filter; policy accept;
        ct state invalid drop
    }
}
END
snapshot >/tmp/before

check "port 8080 is tracked at first" is_tracked 8080
stop_servers
check "the doctor says no" refuses
check "apply" doctor --apply --yes
check "the doctor says yes" doctor
check "the values are live" live_as_written
check "port 8080 is not tracked any more" is_untracked 8080
stop_servers
check "another port still is" is_tracked 9090
stop_servers
check "apply again finds nothing to do" sh -c \
    "roadstead doctor --connections $connections --apply --yes | grep -q 'Nothing to set right'"
check "the scripts leave a doctor's host alone" sh -c '! /tune.sh'
check "revert" doctor --revert
check "everything is as before" as_before
check "the doctor says no again" refuses
check "revert again finds nothing to do" sh -c "roadstead doctor --revert | grep -q 'Nothing to revert'"

check "tune.sh" /tune.sh
check "the values are live" live_as_written
check "port 8080 is not tracked any more" is_untracked 8080
stop_servers
check "the doctor says yes" doctor
check "tune.sh again" /tune.sh
check "the doctor leaves a script's host alone" sh -c '! roadstead doctor --apply --yes'
check "untune.sh" /untune.sh
check "everything is as before" as_before
check "untune.sh again" /untune.sh

echo "$passed passed, $failed failed"
poweroff -f
