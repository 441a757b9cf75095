# Sourced by the scripts beside it; never run by itself. Exit status 3 means that this machine cannot do what is asked.

# Debian keeps dockerd, iptables and setfacl's friends in sbin, which a plain user's PATH lacks.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf 'sparkray: %s\n' "$*"; }

# One line per argument, then the end.
fail() {
    printf 'sparkray: %s\n' "$@" >&2
    exit 3
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"
}

apt_knows() {
    [ -n "$(apt-cache show "$1" 2>/dev/null)" ]
}

# A fresh machine or a slimmed image has no package lists at all.
apt_learn() {
    if apt_knows "$1"; then return; fi
    say "the package lists lack $1: running apt-get update"
    apt_get update || fail "apt-get update failed: is there a network?"
}

# Install packages system-wide, after saying so.
apt_install() {
    command -v apt-get >/dev/null || fail "$* is missing, and there is no apt-get here to install it with"
    can_be_root || fail "$* is missing, and installing it needs root" "run: sudo apt-get install $*"
    apt_learn "$1"
    say "installing system-wide with apt-get: $*"
    apt_get install --no-install-recommends "$@" && return
    say "that failed; once more with fresh package lists (apt-get update)"
    { apt_get update && apt_get install --no-install-recommends "$@"; } || fail "apt-get could not install $*"
}
