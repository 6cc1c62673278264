"""What a daemon that comes up again decides about each row, for every phase and what the keeper knows."""

import pytest

from sampan.containers import wanted
from sampan.containers.keeping import Held
from sampan.containers.model import NEXT, Container, Phase, State
from sampan.containers.recovery import Fate, plan

ID = "cd" * 32


def row(phase: Phase) -> Container:
    return Container(ID, "web", "i", phase, wanted.decode_create({"Cmd": ["x"]}), State(pid=7, started_ns=1), 1)


def held(state: str) -> dict[str, Held]:
    return {ID: Held(ID, "", state, 7, 1, 0 if state == "exited" else None, 2, True, 0)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phase", "known", "fate"),
    [
        (Phase.CREATED, {}, Fate.REST),
        (Phase.STARTING, {}, Fate.UNDO),
        (Phase.STARTING, held("running"), Fate.ADOPT),
        (Phase.STARTING, held("exited"), Fate.RECORD),
        (Phase.RUNNING, held("running"), Fate.KEEP),
        (Phase.RUNNING, held("exited"), Fate.RECORD),
        (Phase.RUNNING, {}, Fate.LOST),
        (Phase.PAUSED, held("running"), Fate.KEEP),
        (Phase.PAUSED, {}, Fate.LOST),
        (Phase.RESTARTING, {}, Fate.WAIT),
        (Phase.EXITED, {}, Fate.REST),
        (Phase.REMOVING, {}, Fate.REMOVE),
    ],
)
def test_every_phase_has_a_fate(phase: Phase, known: dict[str, Held], fate: Fate) -> None:
    (decision,) = plan([row(phase)], known)
    assert decision.fate is fate


def test_every_phase_is_in_the_life_cycle_and_can_be_left_except_the_last() -> None:
    assert set(NEXT) == set(Phase)
    reachable = {phase for following in NEXT.values() for phase in following}
    assert set(Phase) - reachable == {Phase.CREATED} - reachable
    assert [phase for phase, following in NEXT.items() if not following] == [Phase.REMOVING]
