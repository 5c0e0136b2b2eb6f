#!/bin/sh
# The project's two commands:
#   ./do run [args of `bitnetc run`]   plans the small trained model and streams text from it
#   ./do test                          everything that must hold, in the order in which it fails fastest
# Each installs what it misses: a C++ compiler and Chromium by apt, TT-NN and its mock card into .bitnetc/ by pip.
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

# The browser in which the tests look at the pages of `inspect --html`.
need_browser() {
    for browser in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$browser" >/dev/null 2>&1 && return 0
    done
    echo "installing Chromium" >&2
    as_root apt-get update -q && as_root apt-get install -y -q chromium
}

# step NAME COMMAND...: a headline, the command, and its name for the closing line. The first that fails ends everything.
step() {
    name=$1
    shift
    echo "== $name"
    if ! "$@"; then
        echo "failed: $name, after $(elapsed)" >&2
        exit 1
    fi
    passed="$passed$name, "
}

elapsed() {
    seconds=$(($(date +%s) - started))
    echo "$((seconds / 60)) min $((seconds % 60)) s"
}

# The tools for which `bitnetc export` writes files, into .bitnetc/tools. Where they cannot be had, their tests say that they are skipped.
make_tools() {
    tools=.bitnetc/tools wanted=tests/export/requirements.txt
    cmp -s "$wanted" "$tools/requirements.txt" && return 0
    pip="$tools/bin/python -m pip install --quiet --disable-pip-version-check"
    if .bitnetc/venv/bin/python -m venv --clear "$tools" && $pip -r "$wanted" &&
        $pip --no-deps ai-edge-model-explorer==0.1.34; then
        cp "$wanted" "$tools/requirements.txt"
    else
        rm -rf "$tools"
        echo "the tools of the exports cannot be installed: their tests are skipped"
    fi
}

# All tests, shown as they run, then the sum over the test programs.
run_tests() {
    { cargo test --workspace --no-fail-fast && : >"$scratch/passed"; } | tee "$scratch/log"
    count=$(awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed", passed, failed }' \
        "$scratch/log")
    echo "$count"
    [ -e "$scratch/passed" ]
}

tests() {
    started=$(date +%s)
    passed=
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    step fmt cargo fmt --all --check
    step clippy cargo clippy --workspace --all-targets -- -D warnings
    step doc env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
    step build cargo build --workspace --all-targets
    step setup target/debug/bitnetc ttnn setup
    step tools make_tools
    step package cargo package --workspace --no-verify --allow-dirty --quiet
    step tests run_tests
    echo "all passed: ${passed%tests, }${count%% *} tests in $(elapsed)"
}

command="${1:-}"
[ $# -gt 0 ] && shift
case "$command" in
run)
    need_tools
    exec cargo run --release -- run "$@"
    ;;
test)
    need_tools
    need_browser
    tests
    ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
