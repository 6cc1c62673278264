"""The rows of ps that belong to a container."""

import pytest

from sampan import errors
from sampan.containers import looking

OUTPUT = """UID   PID  PPID CMD
root    1     0 /sbin/init
root   42     1 sleep   777
www    43    42 httpd -f -p 80
"""


def test_only_the_containers_processes_are_shown() -> None:
    titles, rows = looking.choose(OUTPUT, {42, 43})
    assert titles == ["UID", "PID", "PPID", "CMD"]
    assert rows == [["root", "42", "1", "sleep 777"], ["www", "43", "42", "httpd -f -p 80"]]


def test_ps_options_without_pids_are_refused() -> None:
    with pytest.raises(errors.Invalid, match="PID"):
        looking.choose("CMD\nsleep\n", {1})
