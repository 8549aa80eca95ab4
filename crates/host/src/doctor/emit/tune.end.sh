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
