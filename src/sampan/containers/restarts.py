"""Whether and when a container that ended starts again. Pure.

Source: Docker's restart policies; the wait doubles from 100 ms to one minute and begins anew after ten good seconds.
"""

from __future__ import annotations

from sampan.containers.model import State
from sampan.containers.wanted import RestartPolicy

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
GOOD_RUN_NS = 10 * 10**9


def delay(policy: RestartPolicy, state: State, *, previous_delay_s: float = 0.0) -> float | None:
    """Seconds to wait before the next start after an exit, None to leave it alone."""
    if state.stopped_by_user:
        return None
    match policy.name:
        case "always" | "unless-stopped":
            wanted = True
        case "on-failure":
            allowed = policy.maximum_retry_count
            wanted = state.exit_code != 0 and (not allowed or state.restart_count < allowed)
        case _:
            wanted = False
    if not wanted:
        return None
    if not previous_delay_s or state.finished_ns - state.started_ns >= GOOD_RUN_NS:
        return FIRST_DELAY_S
    return min(previous_delay_s * 2, LONGEST_DELAY_S)


def after_daemon_start(policy: RestartPolicy, state: State) -> bool:
    """Whether a container that is down when the daemon comes up is started (a reboot, an exit nobody handled).

    `always` means always: a container stopped by hand comes back with the daemon, as Docker documents.
    """
    return policy.name == "always" or (policy.name == "unless-stopped" and not state.stopped_by_user)
