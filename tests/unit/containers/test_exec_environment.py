"""The environment of an exec: the first process's, as far as it is not about that one's user or terminal."""

import pytest

from sampan.containers.execs import ExecWish, environment

FIRST = ["PATH=/bin", "HOSTNAME=x", "TERM=xterm", "HOME=/root", "A=1"]


@pytest.mark.parametrize(
    ("asked", "wish", "home", "expected"),
    [
        ((), ExecWish(("x",)), "", {"HOME": "/root", "A": "1"}),
        ((), ExecWish(("x",), terminal=True), "", {"HOME": "/root", "A": "1", "TERM": "xterm"}),
        ((), ExecWish(("x",)), "/home/u", {"HOME": "/home/u", "A": "1"}),
        (("HOME=/root", "TERM=vt100"), ExecWish(("x",)), "/home/u", {"HOME": "/root", "A": "1", "TERM": "xterm"}),
        ((), ExecWish(("x",), env=("A=2", "B=3")), "", {"HOME": "/root", "A": "2", "B": "3"}),
        ((), ExecWish(("x",), env=("A",)), "", {"HOME": "/root"}),
        ((), ExecWish(("x",), env=("HOME=/else",)), "/home/u", {"HOME": "/else", "A": "1"}),
    ],
)
def test_what_an_exec_sees(asked: tuple[str, ...], wish: ExecWish, home: str, expected: dict[str, str]) -> None:
    found = dict(item.split("=", 1) for item in environment(FIRST, asked, wish, home=home))
    assert found == {"PATH": "/bin", "HOSTNAME": "x", **expected}
