"""Restart policies as a table."""

import pytest

from sampan.containers import restarts
from sampan.containers.model import State
from sampan.containers.wanted import RestartPolicy

S = 10**9


@pytest.mark.parametrize(
    ("name", "retries", "state", "starts"),
    [
        ("", 0, State(exit_code=1), False),
        ("no", 0, State(exit_code=1), False),
        ("always", 0, State(exit_code=0), True),
        ("always", 0, State(stopped_by_user=True), False),
        ("unless-stopped", 0, State(exit_code=0), True),
        ("on-failure", 0, State(exit_code=0), False),
        ("on-failure", 0, State(exit_code=3, restart_count=99), True),
        ("on-failure", 3, State(exit_code=3, restart_count=2), True),
        ("on-failure", 3, State(exit_code=3, restart_count=3), False),
    ],
)
def test_a_policy_decides(name: str, retries: int, state: State, starts: bool) -> None:
    assert (restarts.delay(RestartPolicy(name, retries), state) is not None) is starts


def test_the_wait_doubles_up_to_a_minute_and_begins_anew_after_a_good_run() -> None:
    policy, short = RestartPolicy("always"), State(started_ns=0, finished_ns=1 * S)
    delays, previous = [], 0.0
    for _ in range(12):
        previous = restarts.delay(policy, short, previous_delay_s=previous) or 0.0
        delays.append(previous)
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert delays[-1] == restarts.LONGEST_DELAY_S
    good = State(started_ns=0, finished_ns=11 * S)
    assert restarts.delay(policy, good, previous_delay_s=30.0) == restarts.FIRST_DELAY_S


@pytest.mark.parametrize(
    ("name", "stopped", "starts"),
    [("always", True, True), ("always", False, True), ("unless-stopped", True, False), ("unless-stopped", False, True)],
)
def test_what_comes_up_with_the_daemon(name: str, stopped: bool, starts: bool) -> None:
    assert restarts.after_daemon_start(RestartPolicy(name), State(stopped_by_user=stopped)) is starts


def test_a_failed_container_does_not_come_up_with_the_daemon() -> None:
    assert not restarts.after_daemon_start(RestartPolicy("on-failure"), State(exit_code=1))
