"""`scripts/docker.sh` beside a running engine: two real ones, in network and mount namespaces of their own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.root]
ROOT = Path(__file__).parents[2]
# The second engine cannot set up its network, since iptables fails there: the script would then do without a bridge.
BESIDE = """
set -eu
folder=$1 python=$2
mkdir -p "$folder/state" "$folder/run" "$folder/bin" /var/lib/sparkray /run/sparkray
mount --bind "$folder/state" /var/lib/sparkray
mount --bind "$folder/run" /run/sparkray
ip link add docker0 type bridge
dockerd --data-root "$folder/first/data" --exec-root "$folder/first/exec" --pidfile "$folder/first.pid" \
    --host "unix://$folder/first.sock" --iptables=false --ip6tables=false --bridge=docker0 >"$folder/first.log" 2>&1 &
first=$!
for _ in $(seq 100); do
    "$python" scripts/engine_ping.py "unix://$folder/first.sock" 1 && break
    sleep 0.2
done
for name in iptables ip6tables nft; do
    printf '#!/bin/sh\nexit 1\n' >"$folder/bin/$name"
    chmod +x "$folder/bin/$name"
done
status=0
PATH="$folder/bin:$PATH" PYTHON=$python bash scripts/docker.sh launch "unix://$folder/second.sock" || status=$?
echo "first=$first status=$status"
"$python" scripts/engine_ping.py "unix://$folder/first.sock" 1 && echo "first answers"
ip link show docker0 >/dev/null && echo "bridge is there"
"$python" scripts/engine_ping.py "unix://$folder/second.sock" 1 || echo "second is not there"
for pid in "$folder"/first.pid "$folder"/*/exec/containerd/containerd.pid "$folder"/run/docker/*.pid; do
    [ -e "$pid" ] && kill -KILL "$(cat "$pid")" 2>/dev/null || true
done
"""


def test_no_engine_without_a_bridge_is_started_beside_a_running_one() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces of its own need root")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        command = ["unshare", "--net", "--mount", "bash", "-c", BESIDE, "beside", folder, sys.executable]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        log = Path(folder, "first.log").read_text()
    said = done.stdout.splitlines()
    assert said[-3:] == ["first answers", "bridge is there", "second is not there"], done.stdout + done.stderr + log
    first = said[-4].partition(" ")[0].removeprefix("first=")
    assert said[-4].endswith("status=3")
    assert f"another Docker engine runs here (pid {first}" in done.stderr
    assert "export DOCKER_HOST=unix:///" in done.stderr
