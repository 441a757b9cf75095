#!/usr/bin/env bash
# Make .venv and install sparkray into it, at the versions of constraints.txt. A second call finds its stamp and ends.
#   PYTHON=python3.12 scripts/install.sh    with another interpreter than python3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

readonly venv=.venv stamp=.venv/.sparkray-installed
readonly chosen="${PYTHON:-}"
readonly python="${PYTHON:-python3}"

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

supported() {
    case "$1" in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac
}

# Names of interpreters on the PATH that would do, for the message that refuses another.
others() {
    local name
    for name in python3.13 python3.12 python3.11; do
        if supported "$(version_of "$name")"; then printf '%s ' "$name"; fi
    done
}

check_python() {
    local version found
    version="$(version_of "$python")" || version="not an interpreter that starts"
    supported "$version" && return
    found="$(others)"
    if [ -n "$found" ]; then
        fail "$python is $version; sparkray needs Python 3.11, 3.12 or 3.13" \
            "found here: ${found}- run: make install PYTHON=${found%% *}"
    fi
    fail "$python is $version; sparkray needs Python 3.11, 3.12 or 3.13" \
        "install one, then run: make install PYTHON=python3.12"
}

# The environment is of use when it lies where it was made and, if the caller named an interpreter, has its version.
venv_fits() {
    [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.made-in" 2>/dev/null)" = "$PWD" ] || return 1
    local version
    version="$(version_of "$venv/bin/python")" || return 1
    supported "$version" && { [ -z "$chosen" ] || [ "$version" = "$(version_of "$chosen")" ]; }
}

make_venv() {
    check_python
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "$python has no venv module with pip (Debian and Ubuntu ship it apart)"
        apt_install "python$(version_of "$python")-venv"
    fi
    say "making a virtual environment in $venv with $python ($(version_of "$python"))"
    "$python" -m venv --clear "$venv"
    printf '%s' "$PWD" >"$venv/.made-in"
}

# The build backend goes first and from the same pins: pip's own isolated build would take the newest one.
# pip compiles to bytecode in one process, compileall in one a core; files that do not compile (templates) are never imported.
install_packages() {
    local pip=("$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt)
    say "installing sparkray and what it needs into $venv (about 90 packages; one to three minutes the first time)"
    "${pip[@]}" hatchling editables
    "${pip[@]}" --no-build-isolation -e '.[dev]' || return
    "$venv/bin/python" -m compileall -qq -j 0 "$venv/lib" || true
}

main() {
    if ! venv_fits; then
        make_venv
    elif [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ]; then
        say "$venv is up to date"
        return
    fi
    install_packages || fail "pip could not install sparkray: the lines above say why" "then run: make install"
    touch "$stamp"
    say "installed: $venv/bin/sparkray"
}

main
