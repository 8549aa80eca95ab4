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
