#!/bin/sh
# Sets this host right for 5,000,000 connections on port 8080; untune.sh puts back what was there.
# Generated from the doctor's rules by `just generate`; edit crates/host/src/doctor/emit/scripts.rs.
set -eu

STATE=/var/lib/roadstead/tune.state
SYSCTL_CONF=/etc/sysctl.d/90-roadstead.conf
LIMITS_CONF=/etc/security/limits.d/90-roadstead.conf
RULESET=/etc/roadstead/notrack.nft

[ "$(id -u)" = 0 ] || { echo "$0: run this as root" >&2; exit 2; }

# The value of a sysctl, its parts set apart by single blanks.
now() { tr -s '\t' ' ' <"/proc/sys/$(echo "$1" | tr . /)"; }
put() { echo "$2" >"/proc/sys/$(echo "$1" | tr . /)"; }
NOFILE=6000000
PORT=8080

if [ -e /var/lib/roadstead/tuning.json ]; then
    echo "$0: this host was tuned by roadstead doctor; use that, or roadstead doctor --revert first" >&2
    exit 2
fi

mkdir -p "${STATE%/*}" "${RULESET%/*}"
touch "$STATE"

# Prints the better of two values, part by part, as the comparison says: what is better already stays.
better() {
    echo "$1|$2|$3" | awk -F'|' '{
        n = split($2, have, " "); m = split($3, want, " ")
        if (n != m) exit 1
        for (i = 1; i <= n; i++) {
            lower = ($1 == "most" || ($1 == "span" && i == 1))
            better = (lower ? (have[i] + 0 < want[i] + 0) : (have[i] + 0 > want[i] + 0)) ? have[i] : want[i]
            printf "%s%s", better, (i < n ? " " : "\n")
        }
    }'
}

# setting NAME COMPARISON VALUE: raises a live value, and notes what it was before the first time.
setting() {
    name=$1 comparison=$2 wanted=$3
    if ! before=$(now "$name" 2>/dev/null); then
        echo "$name: not on this kernel"
        return 0
    fi
    if ! value=$(better "$comparison" "$before" "$wanted"); then
        echo "$name: left as it is, '$before' is not understood"
        return 0
    fi
    [ "$before" != "$value" ] || return 0
    grep -q "^set|$name|" "$STATE" || echo "set|$name|$before|$value" >>"$STATE"
    if put "$name" "$value" 2>/dev/null; then
        echo "$name: $before -> $value"
    else
        echo "$name: the kernel refuses $value here; it stays $before" >&2
    fi
}

# file PATH: writes standard input there in one step, unless somebody else's file is in the way.
file() {
    if [ -e "$1" ] && ! grep -q "^file|$1$" "$STATE"; then
        echo "$1: exists and is not ours; left as it is" >&2
        cat >/dev/null
        return 0
    fi
    cat >"$1.roadstead-new"
    grep -q "^file|$1$" "$STATE" || echo "file|$1" >>"$STATE"
    mv "$1.roadstead-new" "$1"
    echo "$1: written"
}

limits_conf() {
    cat <<'END'
# Written by tune.sh; untune.sh removes it.
# Not above sysctl fs.nr_open: a login that asks for more is refused.
*    -  nofile  6000000
root -  nofile  6000000
END
}

notrack_rules() {
    cat <<'END'
#!/usr/sbin/nft -f
# Written by tune.sh; untune.sh removes it.
# The first two lines make loading it again a replacement, in one transaction.
add table inet roadstead
delete table inet roadstead
table inet roadstead {
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		tcp dport 8080 notrack
		tcp sport 8080 notrack
	}
	chain output {
		type filter hook output priority raw; policy accept;
		tcp sport 8080 notrack
		tcp dport 8080 notrack
	}
}
END
}

setting fs.file-max least '6000000'
setting fs.nr_open least '6000000'
setting fs.epoll.max_user_watches least '6000000'
setting net.core.somaxconn least '4096'
setting net.ipv4.tcp_max_syn_backlog least '8192'
setting net.core.netdev_max_backlog least '5000'
setting net.ipv4.tcp_syncookies least '1'
setting net.core.rmem_max least '16777216'
setting net.core.wmem_max least '16777216'
setting net.ipv4.tcp_rmem least '4096 87380 16777216'
setting net.ipv4.tcp_wmem least '4096 65536 16777216'
setting net.ipv4.tcp_mem least '250000 375000 500000'
setting net.ipv4.tcp_keepalive_time most '300'
setting net.ipv4.tcp_keepalive_intvl most '30'
setting net.ipv4.tcp_keepalive_probes most '3'
setting net.ipv4.tcp_fin_timeout most '30'
setting net.ipv4.tcp_max_orphans least '250000'
setting net.ipv4.tcp_max_tw_buckets least '500000'
setting vm.max_map_count least '65530'

# The values for the next boot: those that were changed, as they are now.
if grep -q '^set|' "$STATE"; then
    {
        echo "# Written by tune.sh; untune.sh removes it."
        grep '^set|' "$STATE" | while IFS='|' read -r _ name _ _; do echo "$name = $(now "$name")"; done
    } | file "$SYSCTL_CONF"
fi

# pam_limits refuses a login whose limit it cannot set: only a limit that can be set is written.
if (ulimit -n "$NOFILE") 2>/dev/null; then
    limits_conf | file "$LIMITS_CONF"
else
    echo "$LIMITS_CONF: not written, a limit of $NOFILE cannot be set here (CAP_SYS_RESOURCE, fs.nr_open)" >&2
fi

if [ ! -e /proc/sys/net/netfilter/nf_conntrack_count ]; then
    echo "connection tracking is not loaded: no rules needed"
elif command -v nft >/dev/null; then
    notrack_rules | file "$RULESET"
    nft -f "$RULESET"
    grep -q '^table$' "$STATE" || echo table >>"$STATE"
    echo "port $PORT is exempt from connection tracking (nft list table inet roadstead)"
else
    echo "nft is not installed: the port stays tracked (Debian: apt-get install nftables)" >&2
fi
