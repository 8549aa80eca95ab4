# The recipes people use. They stay thin: the logic is in the crates.

# What every developer and CI holds the code to.
export RUSTDOCFLAGS := "-D warnings"

# List the recipes.
[private]
default:
    @{{just_executable()}} --justfile {{justfile()}} --list --unsorted

# Show the product: as many connections as this host allows, io_uring beside epoll.
[group('run')]
demo *args:
    cargo run --release -q -p roadstead-bench -- demo {{args}}

# Start the server (release build), for instance `just serve --listen 0.0.0.0:8080`.
[group('run')]
serve *args:
    cargo run --release -q -p roadstead-server --bin roadstead -- serve {{args}}

# Build everything, optimised.
[group('build')]
build:
    cargo build --workspace --release --locked

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
ci: fmt-check lint doc deny spell test
    {{just_executable()}} --justfile {{justfile()}} demo --short
