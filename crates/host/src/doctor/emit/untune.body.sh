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
