#!/bin/sh
# The project's two commands:
#   ./do run [args of `bitnetc run`]   plans the small trained model and streams text from it
#   ./do test                          everything that must hold, in the order in which it fails fastest
# Each installs what it misses: a C++ compiler by apt, TT-NN and its mock card into .bitnetc/ by pip.
set -eu
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

need_tools() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "cargo is missing: install Rust 1.89 or newer with rustup, then run this again" >&2
        exit 1
    fi
    if ! command -v c++ >/dev/null 2>&1; then
        echo "installing a C++ compiler" >&2
        as_root apt-get update -q && as_root apt-get install -y -q g++
    fi
}

tests() {
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
    cargo build --workspace --all-targets
    target/debug/bitnetc ttnn setup
    cargo test --workspace --no-fail-fast
}

command="${1:-}"
[ $# -gt 0 ] && shift
case "$command" in
run)
    need_tools
    exec cargo run --release --quiet -- run "$@"
    ;;
test)
    need_tools
    tests
    ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
