#!/bin/sh
# Puts back what tune.sh changed on this host.
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

[ -e "$STATE" ] || { echo "nothing to undo: $STATE does not exist"; exit 0; }

if grep -q '^table$' "$STATE"; then
    nft 'add table inet roadstead; delete table inet roadstead'
    echo "table inet roadstead: removed"
fi

grep '^file|' "$STATE" | while IFS='|' read -r _ path; do
    rm -f "$path"
    echo "$path: removed"
done

# A value that somebody else has changed since is left alone.
grep '^set|' "$STATE" | while IFS='|' read -r _ name before after; do
    value=$(now "$name")
    if [ "$value" = "$after" ]; then
        put "$name" "$before"
        echo "$name: $after -> $before"
    elif [ "$value" != "$before" ]; then
        echo "$name: changed since, to $value; left as it is" >&2
    fi
done

rm -f "$STATE"
rmdir "${RULESET%/*}" "${STATE%/*}" 2>/dev/null || true
