#!/usr/bin/env bash
# See to a Docker engine: use the one that answers, else start the installed one, else install the distribution's.
#   scripts/docker.sh          make one answer; a second call finds it
#   scripts/docker.sh stop     stop the one that this script started, if any
#   scripts/docker.sh neighbours    pids of the engines in this network namespace
#   scripts/docker.sh launch ADDRESS | end    (as root, by this script) start, end dockerd without a service manager
# Where the engine listens elsewhere than at the default, .docker-engine/env says so and the Makefile passes it on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

readonly default=unix:///var/run/docker.sock
readonly state=/var/lib/sparkray/docker # images and log of an engine started here
readonly run=/run/sparkray/docker       # its socket, pid files and runtime state: gone after a reboot, like the engine
readonly own="unix://$run/docker.sock"
readonly log="$state/dockerd.log"
readonly record=.docker-engine/env
readonly patience_s=60
# engine_ping.py's answers
readonly nobody=10 forbidden=11 mute=12

python="$(command -v "${PYTHON:-python3}")" || fail "${PYTHON:-python3} is not there: install Python 3.11 to 3.13"
readonly python

status_of() { # ADDRESS [SECONDS]
    local answer=0
    "$python" scripts/engine_ping.py "$@" || answer=$?
    printf '%s' "$answer"
}

# ---- the engine that the caller names, or that is there ----

use_named() {
    case "$DOCKER_HOST" in
        unix://*) ;;
        *) fail "DOCKER_HOST=$DOCKER_HOST is no unix:// socket: sparkray measures processes of this machine" \
            "name the unix:// socket of an engine on this machine, or unset DOCKER_HOST" ;;
    esac
    case "$(status_of "$DOCKER_HOST")" in
        0) say "using the Docker engine at $DOCKER_HOST (from DOCKER_HOST)" ;;
        "$forbidden") fail "no permission on $DOCKER_HOST (from DOCKER_HOST)" \
            "run: sudo usermod -aG docker $(id -un)   and log in again; or unset DOCKER_HOST" ;;
        13) fail "DOCKER_HOST=$DOCKER_HOST cannot be used: both arms run on this machine" \
            "name the unix:// socket of an engine on this machine, or unset DOCKER_HOST" ;;
        *) fail "no Docker engine answers at $DOCKER_HOST (from DOCKER_HOST)" \
            "start that engine, or unset DOCKER_HOST and run: make docker" ;;
    esac
}

remember() {
    if [ "$1" = "$default" ]; then
        rm -f "$record"
        return
    fi
    mkdir -p "$(dirname "$record")"
    printf 'DOCKER_HOST=%q\n' "$1" >"$record"
    say "make passes its address on; for commands by hand: export DOCKER_HOST=$1"
}

use() {
    say "using the Docker engine at $1"
    remember "$1"
}

# A user who can be root without a password is let in, for as long as the socket lives; nobody else loses anything.
grant() {
    local path="${1#unix://}"
    can_be_root || fail "no permission on $path" \
        "run: sudo usermod -aG docker $(id -un)   and log in again (the docker group is as good as root)"
    command -v setfacl >/dev/null || apt_install acl
    say "letting $(id -un) use $path until the engine restarts (sudo setfacl)"
    as_root setfacl -m "u:$(id -u):rw" "$path" || fail "setfacl could not open $path to $(id -un)" \
        "run: sudo usermod -aG docker $(id -un)   and log in again"
}

use_if_there() {
    case "$(status_of "$1")" in
        0) use "$1" ;;
        "$forbidden") grant "$1" && use "$1" ;;
        *) return 1 ;;
    esac
}

context_address() {
    docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || true
}

# ---- starting one ----

install_engine() {
    local packages=(docker.io iptables)
    say "no dockerd is installed: taking the distribution's docker.io"
    apt_learn docker.io
    # Since Debian 13 the command-line client is a package of its own.
    if apt_knows docker-cli; then packages+=(docker-cli); fi
    if grep -qs Y /sys/module/apparmor/parameters/enabled; then packages+=(apparmor); fi
    apt_install "${packages[@]}"
}

has_systemd_unit() {
    [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1
}

start_unit() {
    say "starting the docker service (systemctl start docker)"
    as_root systemctl start docker || {
        as_root journalctl -u docker -n 20 --no-pager >&2 || true
        fail "the docker service did not start: the lines above are the end of its log"
    }
    wait_for "$default" || fail "the docker service runs, but nothing answers at $default after $patience_s s"
    use_if_there "$default"
}

wait_for() { # ADDRESS [PID of the process that shall answer]
    local until=$((SECONDS + patience_s)) answer
    while [ "$SECONDS" -lt "$until" ]; do
        answer="$(status_of "$1" 5)"
        case "$answer" in 0 | "$forbidden") return 0 ;; esac
        if [ -n "${2:-}" ] && ! kill -0 "$2" 2>/dev/null; then return 1; fi
        sleep 0.3
    done
    return 1
}

start_own() {
    local address="$default"
    # Somebody who holds the default socket without answering keeps it.
    if [ "$(status_of "$default" 1)" = "$mute" ]; then address="$own"; fi
    say "starting dockerd by itself (no docker service here): images and log in $state, socket ${address#unix://}"
    as_root env PYTHON="$python" bash scripts/docker.sh launch "$address" || exit 3
    use_if_there "$address" || fail "the engine at $address went away again: see $log"
}

# The pid in a file, if it is still a process with these words in its command line.
living() { # FILE WORDS
    local pid
    pid="$(cat "$1" 2>/dev/null)" || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$2" && printf '%s' "$pid"
}

launched_pid() { living "$run/launched.pid" "--data-root $state/data"; }

end_process() { # PID: asked first, then made to
    local tries=0
    kill "$1" 2>/dev/null || return 0
    while [ -d "/proc/$1" ] && [ "$tries" -lt 150 ]; do
        tries=$((tries + 1))
        sleep 0.2
    done
    if [ -d "/proc/$1" ]; then kill -KILL "$1"; fi
}

# A killed dockerd leaves pid files that would keep the next one from starting, and a containerd on its way out.
clear_leftovers() {
    local pid
    if pid="$(living "$run/exec/containerd/containerd.pid" "$run/exec/containerd")"; then end_process "$pid"; fi
    rm -f "$run/docker.pid" "$run/exec/containerd/containerd.pid"
}

attempt() { # ADDRESS, further options of dockerd
    local address="$1" pid tries=0
    shift
    clear_leftovers
    : >"$log"
    "$python" scripts/detach.py "$run/launched.pid" "$log" \
        dockerd --data-root "$state/data" --exec-root "$run/exec" --pidfile "$run/docker.pid" --host "$address" "$@"
    until pid="$(launched_pid)"; do # for a moment it is not dockerd yet
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || return 1
        sleep 0.1
    done
    wait_for "$address" "$pid"
}

# Pids of the dockerd processes in this network namespace: one that starts with --bridge=none deletes their docker0.
neighbours() {
    local folder
    for folder in /proc/[0-9]*; do
        [ "$(cat "$folder/comm" 2>/dev/null)" = dockerd ] || continue
        [ "$(readlink "$folder/ns/net" 2>/dev/null)" = "$(readlink /proc/self/ns/net)" ] && printf '%s ' "${folder#/proc/}"
    done
    return 0
}

# Without a service manager nobody may have mounted them, and dockerd needs them.
ensure_cgroups() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ]; then return; fi
    say "mounting cgroup2 at /sys/fs/cgroup, where no control groups are mounted"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup || say "that failed; dockerd will say what it lacks"
}

launch() {
    local address="$1" pid others
    mkdir -p "$state" "$run"
    chmod 0755 "$run"
    exec 9>"$run/lock"
    flock -w "$patience_s" 9 || fail "another call has been starting an engine for $patience_s s: see $log"
    if [ "$(status_of "$address" 5)" = 0 ]; then return; fi
    if pid="$(launched_pid)"; then
        wait_for "$address" "$pid" && return
        fail "dockerd (pid $pid) was started earlier but does not answer at $address" \
            "see $log, or stop it with: make docker-stop"
    fi
    ensure_cgroups
    attempt "$address" && return
    if ! launched_pid >/dev/null && grep -qiE 'iptables|nftables|bridge|network controller' "$log"; then
        others="$(neighbours)"
        if [ -n "$others" ]; then
            fail "dockerd could not set up its network, and another Docker engine runs here (pid ${others% })" \
                "a second one without a bridge would delete docker0, which that one uses: start or repair it," \
                "and name its socket: export DOCKER_HOST=unix:///...   The log is $log"
        fi
        say "dockerd could not set up its network: once more without iptables and bridge"
        say "(containers then have --network host or none, which is all that sparkray needs)"
        attempt "$address" --iptables=false --ip6tables=false --bridge=none && return
    fi
    tail -n 20 "$log" >&2
    fail "dockerd did not answer at $address: above is the end of $log"
}

stop() {
    local pid
    if pid="$(launched_pid)"; then
        say "stopping dockerd (pid $pid) that sparkray started; its images stay in $state"
    else
        say "no engine that sparkray started is running"
    fi
    if [ -d "$run" ]; then as_root bash scripts/docker.sh end; fi
}

end() {
    local pid mounted
    if pid="$(launched_pid)"; then end_process "$pid"; fi
    clear_leftovers
    # dockerd leaves its own network namespace mounted and, when it was killed, its data folder.
    awk -v state="$state/" -v run="$run/" 'index($2, state) == 1 || index($2, run) == 1 {print $2}' /proc/mounts |
        sort -r | while read -r mounted; do umount "$mounted" || true; done
}

up() {
    local address
    if [ -n "${DOCKER_HOST:-}" ]; then
        use_named
        return
    fi
    if use_if_there "$default" || use_if_there "$own"; then return; fi
    address="$(context_address)"
    if [ -n "$address" ] && [ "$address" != "$default" ] && use_if_there "$address"; then return; fi
    say "no Docker engine answers at $default"
    if ! command -v dockerd >/dev/null || ! can_be_root; then
        can_be_root || fail "starting or installing one needs root, and sudo asks for a password here" \
            "as an administrator, run: sudo apt-get install docker.io && sudo usermod -aG docker $(id -un)" \
            "then log in again and run: make docker"
        command -v apt-get >/dev/null || fail "no dockerd is installed, and there is no apt-get here" \
            "install Docker as your distribution does it, then run: make docker"
        install_engine
        # The package may have started it already.
        if use_if_there "$default"; then return; fi
    fi
    if has_systemd_unit; then start_unit; else start_own; fi
}

case "${1:-up}" in
    neighbours) neighbours ;;
    up) up ;;
    stop) stop ;;
    launch) launch "$2" ;;
    end) end ;;
    *) fail "scripts/docker.sh knows: up, stop; not $1" ;;
esac
