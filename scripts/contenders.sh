#!/usr/bin/env bash
# Builds the contenders: the echo job on other foundations, for `roadstead-bench` to measure beside this project's.
#
#   contenders.sh [--install] [--strict] [NAME...]
#
# Each becomes crates/contenders/target/release/NAME, or leaves the reason beside it in NAME.missing; versions.json
# says which version of its foundation each stands on. Exits 0 when any was built, with --strict when all were.
# --install, or CI=true, lets root install the Debian packages that are missing.
set -euo pipefail

contenders=$(cd "$(dirname "$0")/../crates/contenders" && pwd)
manifest="$contenders/Cargo.toml"
out="$contenders/target/release"
log="$out/contenders.log"
all=(tokio tokio-uring monoio glommio compio mio go uws node)

strict=
install=${CI:-}
names=()
for argument in "$@"; do
    case $argument in
        --strict) strict=true ;;
        --install) install=true ;;
        *)
            if [[ " ${all[*]} " != *" $argument "* ]]; then
                echo "usage: contenders.sh [--install] [--strict] [NAME...], of: ${all[*]}" >&2
                exit 2
            fi
            names+=("$argument")
            ;;
    esac
done
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")

# In what follows, what cannot be done says why on stdout, in one line, and fails.

need() {
    local program=$1 package=$2
    command -v "$program" >/dev/null && return
    if [ "$install" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        {
            apt-get update -qq || true # what apt knows already may do
            DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" || true
        } >>"$log" 2>&1
        command -v "$program" >/dev/null && return
    fi
    echo "$program is missing; as root: apt-get install --no-install-recommends $package"
    return 1
}

# Runs one step of a build, whose first error is the reason when it fails.
step() {
    local said
    said=$("$@" 2>&1) && return
    printf '%s\n' "$said" >>"$log"
    echo "$1: $(grep -m 1 -i error <<<"$said" || tail -n 1 <<<"$said") (more in $log)"
    return 1
}

# One at a time: several would need as many times the memory.
build_rust() {
    step cargo build --quiet --release --locked --manifest-path "$manifest" --target-dir "$contenders/target" --package "contender-$1"
}

build_go() {
    need go golang-go && step env -C "$contenders/go" go build -o "$out/go" .
}

# The sources of uSockets, which a crate carries; cargo gets it and checks its checksum.
usockets_sources() {
    cargo metadata --quiet --locked --format-version 1 --manifest-path "$manifest" 2>>"$log" |
        sed -n 's|.*"manifest_path":"\([^"]*/libuwebsockets-sys-[^"]*\)/Cargo.toml".*|\1/uWebSockets/uSockets/src|p'
}

# As uSockets' own makefile does by default: its epoll loop, no TLS, one optimised whole.
build_uws() {
    local sources file files=()
    need cc gcc || return
    sources=$(usockets_sources) && [ -d "$sources" ] || { echo "cargo could not get the uSockets sources (more in $log)" && return 1; }
    for file in bsd context loop socket udp eventing/epoll_kqueue; do files+=("$sources/$file.c"); done
    step cc -O3 -flto -std=gnu11 -DLIBUS_NO_SSL -pthread -I "$sources" -o "$out/uws" "$contenders/uws/main.c" "${files[@]}"
}

build_node() {
    need node nodejs || return
    printf '#!/bin/sh\nexec node "%s" "$@"\n' "$contenders/node/main.js" >"$out/node"
    chmod +x "$out/node"
}

build() {
    case $1 in
        go | uws | node) "build_$1" ;;
        *) build_rust "$1" ;;
    esac
}

# In the words of the foundation's own packager.
version() {
    case $1 in
        go) go version | sed 's/^go version go\([^ ]*\).*/\1/' ;;
        uws) locked_version libuwebsockets-sys | sed 's/^/uSockets of libuwebsockets-sys /' ;;
        node) node --version | tr -d v ;;
        *)
            cargo tree --quiet --locked --manifest-path "$manifest" --package "contender-$1" --depth 1 --prefix none |
                sed -n "s/^$1 v//p"
            ;;
    esac
}

locked_version() {
    sed -n "/^name = \"$1\"/{n;s/^version = \"\(.*\)\"/\1/p}" "$contenders/Cargo.lock"
}

# What is there from earlier runs is listed too.
write_versions() {
    local name separator=
    printf '{'
    for name in "${all[@]}"; do
        [ -x "$out/$name" ] || continue
        printf '%s\n  "%s": "%s"' "$separator" "$name" "$(version "$name")"
        separator=,
    done
    printf '\n}\n'
}

mkdir -p "$out"
: >"$log"
built=0
for name in "${names[@]}"; do
    echo "building $name" >&2
    if reason=$(build "$name"); then
        rm -f "$out/$name.missing"
        built=$((built + 1))
    else
        rm -f "$out/$name"
        printf '%s\n' "$reason" >"$out/$name.missing"
    fi
done
write_versions >"$out/versions.json"

for name in "${names[@]}"; do
    if [ -e "$out/$name.missing" ]; then
        printf '%-12s MISSING  %s\n' "$name" "$(<"$out/$name.missing")"
    else
        printf '%-12s built    %s\n' "$name" "$(sed -n "s/^  \"$name\": \"\(.*\)\",\{0,1\}$/\1/p" "$out/versions.json")"
    fi
done
[ "$built" -eq "${#names[@]}" ] || { [ -z "$strict" ] && [ "$built" -gt 0 ]; }
