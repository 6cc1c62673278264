"""The classic builder's stream, from events."""

from __future__ import annotations

from sampan.api.engine import render_build
from sampan.build import model
from sampan.build.model import Step
from sampan.formats.digest import Digest

ID = Digest("sha256:" + "ab" * 32)


def step(index: int, text: str, name: str = "") -> Step:
    return Step(index, 3, "", 0, index, 3, text, name or text, index, f"d{index}{name}")


def lines(*events: model.Event, quiet: bool = False) -> list[str]:
    stream = render_build.Stream(quiet=quiet)
    return [line.get("stream", "aux") for event in events for line in stream.feed(event)]


def test_a_step_is_told_as_dockerd_tells_it() -> None:
    run = step(1, "RUN x")
    assert lines(
        model.StepStarted(run, 0),
        model.StepRunning(run, "c" * 64),
        model.StepLog(run, "stdout", "gr\u00fc".encode()[:3], 0),
        model.StepLog(run, "stdout", "\u00fc\n".encode()[1:], 0),
        model.StepLog(run, "stderr", b"bad", 0),
        model.StepFinished(run, ID, 0),
        model.Built(ID),
        model.Tagged(ID, "app:latest"),
    ) == [
        "Step 1/3 : RUN x\n",
        f" ---> Running in {'c' * 12}\n",
        "gr",
        "\u00fc\n",
        "\x1b[91mbad\x1b[0m",
        f"Removing intermediate container {'c' * 12}\n",
        f" ---> {'ab' * 6}\n",
        "aux",
        f"Successfully built {'ab' * 6}\n",
        "Successfully tagged app:latest\n",
    ]


def test_steps_of_stages_that_overlap_come_in_the_order_of_the_file() -> None:
    one, two = step(1, "RUN one"), step(2, "RUN two")
    told = lines(
        model.StepStarted(two, 0),
        model.StepStarted(one, 0),
        model.StepLog(two, "stdout", b"2", 0),
        model.StepFinished(two, ID, 0),
        model.StepLog(one, "stdout", b"1", 0),
        model.StepFinished(one, ID, 0),
    )
    assert told == [
        *("Step 1/3 : RUN one\n", "1", f" ---> {'ab' * 6}\n"),
        *("Step 2/3 : RUN two\n", "2", f" ---> {'ab' * 6}\n"),
    ]


def test_quiet_gives_the_id_alone() -> None:
    one = step(1, "RUN one")
    events = (model.StepStarted(one, 0), model.StepFinished(one, ID, 0), model.Built(ID), model.Tagged(ID, "a:b"))
    assert lines(*events, quiet=True) == [f"{ID}\n"]


def test_a_failure_has_the_commands_code() -> None:
    error = model.BuildFailed("The command 'x' returned a non-zero code: 7", exit_code=7)
    assert render_build.failure(error, 7) == {
        "errorDetail": {"code": 7, "message": error.what},
        "error": error.what,
    }
    assert render_build.failure(error, None) == {"errorDetail": {"message": error.what}, "error": error.what}
