"""Containers on a host that has control groups of version 2 only.

On a hybrid host this is a mount namespace in which /sys/fs/cgroup is the version 2 tree. Its controllers belong to
version 1 there, so limits cannot be tried; everything else can.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import harbour
import peers

pytestmark = [pytest.mark.root]
UNIFIED = Path("/sys/fs/cgroup/unified")

SCRIPT = """
set -eu
mount -t tmpfs tmpfs /run
mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup
ip link set lo up
cd "$1"
"$2" daemon -H "unix://$1/s.sock" --data-root "$1/data" --run-root "$1/run" --pidfile "$1/pid" --registry none \
  >"$1/log" 2>&1 &
for _ in $(seq 200); do [ -S s.sock ] && break; sleep 0.1; done
d="$3 -H unix://$1/s.sock"
$d import - bb:1 <"$1/image.tar" >/dev/null
$d info 2>/dev/null | grep 'Cgroup Version'
$d run --rm bb:1 echo aboard
$d run -d --name long bb:1 sleep 1000 >/dev/null
$d top long | tail -n 1
$d stats --no-stream --format '{{.Name}} {{.CPUPerc}}' long
$d run --rm --cgroup-parent /sampan-apart bb:1 /bin/busybox grep 0:: /proc/1/cgroup
$d pause long
$d inspect -f '{{.State.Status}}' long
$d unpause long
$d stop -t 0 long
$d rm long
kill %1
wait %1
ls -d /sys/fs/cgroup/sampan-????????/*/ 2>/dev/null || echo no group is left
"""


@pytest.mark.skipif(not UNIFIED.exists(), reason="no hybrid control groups here: this host has one version only")
def test_containers_live_and_go_with_version_two_alone(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(harbour.busybox_tar("two"))
    program = Path(sys.executable).parent / "sampan"
    unshare = [
        "unshare",
        "--net",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ]
    done = subprocess.run(
        [*unshare, "bash", "-c", SCRIPT, "script", tmp_path, program, peers.docker_cli()],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    log = (tmp_path / "log").read_text() if (tmp_path / "log").exists() else ""
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{log}"
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "Cgroup Version: 2"
    assert lines[1] == "aboard"
    assert lines[2].endswith("sleep 1000")
    assert lines[3] == "long 0.00%"
    assert lines[4] == "0::/"  # in a namespace of its own
    assert lines[5:] == ["long", "paused", "long", "long", "long", "no group is left"]
    for group in (*UNIFIED.glob("sampan-????????"), UNIFIED / "sampan-apart"):
        if not any(group.glob("*/")):
            group.rmdir()
