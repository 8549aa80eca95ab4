# The recipes people use. They stay thin: the logic is in the crates.

# What every developer and CI holds the code to.
export RUSTDOCFLAGS := "-D warnings"

as_root := if `id -u` == "0" { "" } else { "sudo" }

# List the recipes.
[private]
default:
    @{{just_executable()}} --justfile {{justfile()}} --list --unsorted

# Show the product: as many connections as this host allows, io_uring beside epoll.
[group('run')]
demo *args:
    cargo build --release -q --locked -p roadstead-server -p roadstead-bench
    target/release/roadstead-bench demo {{args}}

# Start the server (release build), for instance `just serve --listen 0.0.0.0:8080`.
[group('run')]
serve *args:
    cargo run --release -q -p roadstead-server --bin roadstead -- serve {{args}}

# Drive a server: `just load sockets --to 127.0.0.1:8080 -c 10k --pipeline 1`, or `just load --help`.
[group('run')]
load *args:
    cargo run --release -q -p roadstead-load -- {{args}}

# The run that the product is judged by: five million connections, 20,000 checked messages per second, each engine in turn (root, 20 GB free).
[group('measure')]
five-million *args:
    @{{just_executable()}} --justfile {{justfile()}} headline --name five-million --connections 5M {{args}}

# The same with a million: 10,000 checked messages per second for a minute; `--engine uring` for one engine (root, 5 GB free).
[group('measure')]
million *args:
    @{{just_executable()}} --justfile {{justfile()}} headline --name million --connections 1M --rate 10k --hold 60s {{args}}

# A million connections of which all but a tenth are reset at once, under 10,000 messages per second, and come back (root, 5 GB free).
[group('measure')]
stampede *args:
    @{{just_executable()}} --justfile {{justfile()}} headline --name stampede --connections 1M --rate 10k --hold 60s --stampede 90%@10s {{args}}

# What the three above are made of: `just headline --connections 100k --hold 10s`.
[group('measure')]
headline *args:
    cargo build --release -q --locked -p roadstead-server -p roadstead-load -p roadstead-bench
    {{as_root}} target/release/roadstead-bench headline {{args}}

# Measure scenarios over all subjects into bench-results/, for instance `just bench echo --subjects epoll,tokio` (root counts kernel memory too).
[group('measure')]
bench *args:
    cargo build --release -q --locked -p roadstead-server -p roadstead-load -p roadstead-bench
    {{as_root}} target/release/roadstead-bench run {{args}}

# Bytes per idle connection, by driver and watch policy: `just bench idle` for ours.
[group('measure')]
bench-idle *args:
    @{{just_executable()}} --justfile {{justfile()}} bench idle --subjects ours {{args}}

# Server CPU per echoed message, by driver and watch policy: `just bench echo` for ours.
[group('measure')]
bench-echo *args:
    @{{just_executable()}} --justfile {{justfile()}} bench echo --subjects ours {{args}}

# What decides how idle connections are watched: idle bytes, CPU per message closed loop and by rate, the cost of closing; OUT=DIR for another folder.
[group('measure')]
bench-watch *args:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release -q --locked -p roadstead-server -p roadstead-load -p roadstead-bench
    out=${OUT:-bench-results/$(date -u +%F)-$(hostname)-watch}
    {{as_root}} target/release/roadstead-bench run watch --subjects ours --name watch --out "$out" {{args}}
    {{as_root}} target/release/roadstead-bench closing --json "$out/closing.json" | {{as_root}} tee "$out/closing.md"

# What a performance change is held against: `just baseline --out BEFORE`, change, `just baseline --out AFTER`, `just bench-diff BEFORE AFTER`.
[group('measure')]
baseline *args:
    @{{just_executable()}} --justfile {{justfile()}} bench idle echo accept --name baseline --subjects epoll,uring/adaptive --connections-max 15000 {{args}}

# What changed between two runs of one scenario on one host.
[group('measure')]
bench-diff before after *args:
    cargo run --release -q -p roadstead-bench -- diff {{before}} {{after}} {{args}}

# That the harness works from end to end: a folder, its plots, a comparison. Seconds; what it measures means nothing.
[group('measure')]
bench-smoke:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build -q --locked -p roadstead-server -p roadstead-load -p roadstead-bench
    results=$(mktemp -d)
    trap 'rm -r "$results"' EXIT
    target/debug/roadstead-bench run idle echo accept stall --subjects epoll,uring/adaptive --rounds 3 \
        --seconds 0.2 --warmup 0.1 --connections-max 50 --out "$results/smoke" >/dev/null
    test -s "$results/smoke/latency-echo-fixed-rate.svg"
    target/debug/roadstead-bench diff "$results/smoke" "$results/smoke"
    target/debug/roadstead-bench closing --others 1k --rounds 1 --batches 1
    if [ "$(id -u)" = 0 ] && [ -c /dev/net/tun ]; then
        target/debug/roadstead-bench headline --connections 2k --rate 1k --warmup 100ms --hold 1s --stampede 90% \
            --out "$results/headline" >/dev/null 2>&1
        test -s "$results/headline/parts-headline.svg"
    else
        echo "NOT CHECKED: the headline run; it needs root and /dev/net/tun"
    fi

# Every scenario over every subject, other projects' servers included: hours.
[group('measure')]
compare *args:
    scripts/contenders.sh
    @{{just_executable()}} --justfile {{justfile()}} bench all --name compare {{args}}

# System calls per message, by driver and watch policy. Needs strace.
[group('measure')]
bench-syscalls *args:
    cargo build --release -q --locked -p roadstead-server -p roadstead-bench
    target/release/roadstead-bench syscalls {{args}}

# Say what this host can hold, why, and what to set: `just doctor --connections 5M`.
[group('host')]
doctor *args:
    cargo run --release -q -p roadstead-server --bin roadstead -- doctor {{args}}

# What connections cost this host now, and would at 1, 2 and 5 million (root sees the kernel's own counts).
[group('host')]
ledger *args:
    cargo build --release -q -p roadstead-server --bin roadstead
    {{as_root}} target/release/roadstead ledger {{args}}

# Set this host right, after showing what would change (asks; needs root).
[group('host')]
tune *args:
    cargo build --release -q -p roadstead-server --bin roadstead
    {{as_root}} target/release/roadstead doctor --apply {{args}}

# Put back what `just tune` changed (needs root).
[group('host')]
untune *args:
    cargo build --release -q -p roadstead-server --bin roadstead
    {{as_root}} target/release/roadstead doctor --revert {{args}}

# Build everything, optimised.
[group('build')]
build:
    cargo build --workspace --release --locked

# Write what is generated from the doctor's rules: scripts, unit, host guide. A test says when it is stale.
[group('build')]
generate:
    cargo run -q -p roadstead-host --example generate

# Every test of the workspace, doc examples included.
[group('check')]
test *args:
    #!/usr/bin/env bash
    set -euo pipefail
    if command -v cargo-nextest >/dev/null; then
        cargo nextest run --workspace --locked --no-fail-fast {{args}}
    else
        echo "cargo-nextest is not installed: running the tests with cargo test"
        cargo test --workspace --locked --lib --bins --tests {{args}}
    fi
    cargo test --workspace --locked --doc --quiet

# Feed random host files to the readers and the doctor, for a minute or for `just fuzz SECONDS`. Needs cargo-fuzz.
[group('check')]
fuzz seconds="60":
    cargo fuzz run -s none host_files -- -max_total_time={{seconds}}

# Format the code.
[group('check')]
fmt:
    cargo fmt --all

# Fail if the code is not formatted.
[group('check')]
fmt-check:
    cargo fmt --all --check

# Clippy over every target, warnings denied.
[group('check')]
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Build the API documentation, warnings denied.
[group('check')]
doc:
    cargo doc --workspace --no-deps --locked --document-private-items

# The doctor with real root on Debian 12's kernels, emulated; SERIES=6.12 for one of them.
[group('check')]
vm-test:
    cargo build -q -p roadstead-server --bin roadstead --locked
    scripts/vm/run.sh doctor.sh target/debug/roadstead

# The conformance suite on Debian 12's kernels, emulated: some minutes for each; SERIES=6.1 for one of them.
[group('check')]
vm-conformance:
    #!/usr/bin/env bash
    set -euo pipefail
    tests=$(cargo test -q -p roadstead-testkit --tests --no-run --locked --message-format json |
        python3 -c 'import json, sys
    for line in sys.stdin:
        built = json.loads(line)
        if built.get("profile", {}).get("test") and built.get("executable") and "test" in built["target"]["kind"]:
            print(built["executable"])')
    # shellcheck disable=SC2086 # a list of programs
    LIMIT_SECONDS=${LIMIT_SECONDS:-1500} scripts/vm/run.sh conformance.sh $tests

# What an idle connection costs Debian 12's kernels, emulated, and whether the ledger knows it; SERIES=6.1 for one.
[group('check')]
vm-ledger:
    cargo build -q --locked -p roadstead-server -p roadstead-load --bins
    LIMIT_SECONDS=${LIMIT_SECONDS:-300} scripts/vm/run.sh ledger.sh target/debug/roadstead target/debug/roadstead-load

# Check that every contender that is built sends back every byte.
[group('check')]
test-contenders:
    cargo test --locked --manifest-path crates/contenders/Cargo.toml

# The same where its tools are installed; says what is missing where they are not.
[private]
vm-test-if-possible:
    #!/usr/bin/env bash
    set -euo pipefail
    missing=$(scripts/vm/run.sh --missing-tools)
    if [ -z "$missing" ]; then
        {{just_executable()}} --justfile {{justfile()}} vm-test
    else
        echo "NOT CHECKED: the doctor on Debian 12's kernels; as root: apt-get install --no-install-recommends $missing"
    fi

# systemd's opinion of the unit that the doctor recommends, with the binary just built in the place of the installed.
[group('check')]
verify-unit:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v systemd-analyze >/dev/null; then
        echo "NOT CHECKED: packaging/roadstead.service; systemd-analyze is missing (Debian: systemd)"
        exit 0
    fi
    cargo build -q -p roadstead-server --bin roadstead --locked
    unit=$(mktemp -d)/roadstead.service
    trap 'rm -r "$(dirname "$unit")"' EXIT
    sed "s|/usr/bin/roadstead|$PWD/target/debug/roadstead|" packaging/roadstead.service >"$unit"
    said=$(systemd-analyze verify --man=no "$unit" 2>&1) || { echo "$said" >&2; exit 1; }
    # systemd-analyze succeeds over directives that it does not know.
    [ -z "$said" ] || { echo "$said" >&2; exit 1; }
    systemd-analyze security --offline=yes --threshold=30 --no-pager "$unit" | tail -n 1

# Dependency policy: bans, licences and sources. Needs cargo-deny.
[group('check')]
deny:
    #!/usr/bin/env bash
    set -euo pipefail
    if command -v cargo-deny >/dev/null; then
        cargo deny --locked check bans licenses sources
    else
        echo "NOT CHECKED: dependency policy; cargo-deny is missing (cargo install cargo-deny --locked)"
    fi

# Spelling. Needs typos.
[group('check')]
spell:
    #!/usr/bin/env bash
    set -euo pipefail
    if command -v typos >/dev/null; then
        typos
    else
        echo "NOT CHECKED: spelling; typos is missing (cargo install typos-cli --locked)"
    fi

# All that a change must pass, and the demo in its short form.
[group('check')]
ci: fmt-check lint doc deny spell test bench-smoke verify-unit vm-test-if-possible
    {{just_executable()}} --justfile {{justfile()}} demo --short
