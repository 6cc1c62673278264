"""Healthchecks: what is asked for, and what results make of it."""

import pytest

from sampan.containers import wanted
from sampan.containers.health import plan
from sampan.containers.health.plan import Check, Health, HealthcheckInvalid, Result
from sampan.containers.wanted import Config, Healthcheck

S = plan.NS
CHECK = Check(("test",), 30 * S, 30 * S, 3, 10 * S, S)


def config(**check: object) -> Config:
    return wanted.decode_create({"Image": "x", "Cmd": ["y"], "Healthcheck": check}).config


def after(codes: list[int], *, age_s: int = 100, health: Health | None = None) -> Health:
    health = health or Health()
    for code in codes:
        health = plan.after(health, Result(age_s * S, age_s * S + 1, code, ""), CHECK, 0)
    return health


@pytest.mark.parametrize(
    ("codes", "status", "streak"),
    [
        ([], "starting", 0),
        ([0], "healthy", 0),
        ([1], "starting", 1),
        ([1, 1, 1], "unhealthy", 3),
        ([0, 1, 1], "healthy", 2),
        ([0, 1, 1, 1], "unhealthy", 3),
        ([1, 1, 1, 0], "healthy", 0),
        ([-1, 2, 77], "unhealthy", 3),
    ],
)
def test_retries_failures_in_a_row_make_a_container_unhealthy(codes: list[int], status: str, streak: int) -> None:
    health = after(codes)
    assert (health.status, health.failing_streak) == (status, streak)


def test_in_the_start_period_failures_do_not_count_until_it_was_healthy() -> None:
    young = after([1, 1, 1, 1], age_s=5)
    assert (young.status, young.failing_streak, len(young.log)) == ("starting", 0, 4)
    assert after([0, 1, 1, 1], age_s=5).status == "unhealthy"


def test_five_results_are_remembered() -> None:
    assert [one.exit_code for one in after([1, 2, 3, 4, 5, 6, 7]).log] == [3, 4, 5, 6, 7]


def test_the_start_interval_holds_while_a_container_starts_up() -> None:
    assert plan.wait_ns(CHECK, "starting", 5 * S) == S
    assert plan.wait_ns(CHECK, "starting", 11 * S) == 30 * S
    assert plan.wait_ns(CHECK, "healthy", 5 * S) == 30 * S


def test_a_shell_is_the_images_own() -> None:
    found = plan.check_of(config(Test=["CMD-SHELL", "exit 1"]))
    assert found is not None
    assert found.command == ("/bin/sh", "-c", "exit 1")
    assert (found.interval_ns, found.timeout_ns, found.retries) == (30 * S, 30 * S, 3)
    own = wanted.decode_create({"Shell": ["/bin/ash", "-c"], "Healthcheck": {"Test": ["CMD-SHELL", "x"]}}).config
    assert (plan.check_of(own) or CHECK).command == ("/bin/ash", "-c", "x")
    direct = plan.check_of(config(Test=["CMD", "a", "b"]))
    assert direct is not None
    assert direct.command == ("a", "b")


@pytest.mark.parametrize("test", [[], ["NONE"], ["CMD"], ["FLY", "x"]])
def test_what_is_no_command_is_not_probed(test: list[str]) -> None:
    assert plan.check_of(config(Test=test)) is None


def test_what_the_client_leaves_out_comes_from_the_image() -> None:
    image = Healthcheck(test=["CMD", "x"], interval=5 * S, retries=7)
    merged = plan.merge(Healthcheck(retries=2), image)
    assert merged is not None
    assert (merged.test, merged.interval, merged.retries) == (["CMD", "x"], 5 * S, 2)
    assert plan.merge(None, image) is image
    assert plan.merge(None, None) is None


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"Interval": 5}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": -1}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": 999_999}, "StartPeriod in Healthcheck"),
        ({"StartInterval": 1}, "StartInterval in Healthcheck"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
        ({"Test": ["CMD"]}, "no command"),
        ({"Test": ["CMD", "a\0b"]}, "NUL"),
    ],
)
def test_a_time_or_count_out_of_range_is_refused(check: dict[str, object], said: str) -> None:
    with pytest.raises(HealthcheckInvalid, match=said):
        plan.validate(config(**check).healthcheck)


def test_what_is_remembered_comes_back_as_it_was() -> None:
    health = after([0, 1, 1])
    assert plan.from_json(plan.to_json(health)) == health
    with pytest.raises(ValueError, match="no health status"):
        plan.from_json({"status": "fine", "failing_streak": 0, "log": []})


def test_long_output_is_cut_and_says_so() -> None:
    assert plan.text_of(b"x" * 5000, truncated=True) == "x" * 4096 + "..."
    assert plan.text_of(b"\xff", truncated=False) == "\ufffd"
