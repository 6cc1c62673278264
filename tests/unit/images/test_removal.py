"""What `rmi` removes and refuses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sampan.formats.digest import Digest
from sampan.images import model, removal

ID = Digest.of(b"config")
A1, A2, B1 = "docker.io/library/a:1", "docker.io/library/a:2", "host:5000/b:1"
A_DIGEST, B_DIGEST = f"docker.io/library/a@{Digest.of(b'a')}", f"host:5000/b@{Digest.of(b'b')}"
RUNNING, STOPPED = model.User("r" * 64, running=True), model.User("s" * 64, running=False)


def image(*references: str) -> model.Image:
    return model.Image(ID, Digest.of(b"m"), "", references, (), 0, 0, {}, model.Config())


def plan(
    references: Sequence[str], by: str | None, users: Sequence[model.User] = (), *, force: bool = False
) -> list[str]:
    actions = removal.plan(image(*references), "asked", by, users, force=force)
    return ["DELETE" if isinstance(action, removal.Delete) else action.target for action in actions]


@pytest.mark.parametrize(
    ("references", "by", "users", "force", "done"),
    [
        ([A1], A1, [], False, [A1, "DELETE"]),
        ([A1, A2], A1, [], False, [A1]),
        ([A1, B1], B1, [], False, [B1]),
        ([A1, A_DIGEST], A1, [], False, [A1, A_DIGEST, "DELETE"]),
        ([A1, A2, A_DIGEST], A1, [], False, [A1]),
        ([A1, A_DIGEST, B1, B_DIGEST], A1, [], False, [A1, A_DIGEST]),
        ([A1, A_DIGEST], A_DIGEST, [], False, [A_DIGEST]),
        ([A_DIGEST], A_DIGEST, [], False, [A_DIGEST, "DELETE"]),
        ([A1, A2], A1, [RUNNING], False, [A1]),
        ([A1], A1, [RUNNING], True, [A1]),
        ([A1], A1, [STOPPED], True, [A1]),
        ([], None, [], False, ["DELETE"]),
        ([A1], None, [], False, [A1, "DELETE"]),
        ([A1, A_DIGEST], None, [], False, [A1, A_DIGEST, "DELETE"]),
        ([A1, B1], None, [], True, [A1, B1, "DELETE"]),
        ([A1], None, [STOPPED], True, [A1]),
    ],
)
def test_a_removal_takes_what_it_may(
    references: list[str], by: str | None, users: list[model.User], force: bool, done: list[str]
) -> None:
    assert plan(references, by, users, force=force) == done


@pytest.mark.parametrize(
    ("references", "by", "users", "force", "message"),
    [
        (
            [A1],
            A1,
            [STOPPED],
            False,
            'conflict: unable to remove repository reference "asked" (must force) - container ssssssssssss is using '
            f"its referenced image {ID.short}",
        ),
        (
            [A1],
            None,
            [RUNNING],
            True,
            f"conflict: unable to delete {ID.short} (cannot be forced) - image is being used by running container "
            "rrrrrrrrrrrr",
        ),
        (
            [A1],
            None,
            [STOPPED],
            False,
            f"conflict: unable to delete {ID.short} (must be forced) - image is being used by stopped container "
            "ssssssssssss",
        ),
        (
            [A1, A2],
            None,
            [],
            False,
            f"conflict: unable to delete {ID.short} (must be forced) - image is referenced in multiple repositories",
        ),
    ],
)
def test_a_conflict_has_docker_s_words(
    references: list[str], by: str | None, users: list[model.User], force: bool, message: str
) -> None:
    with pytest.raises(model.ImageInUse) as caught:
        plan(references, by, users, force=force)
    assert caught.value.what == message


def test_chain_ids_follow_the_specification() -> None:
    low, high = Digest.of(b"low"), Digest.of(b"high")
    assert removal.chain_ids([low, high]) == {low: low, high: Digest.of(f"{low} {high}".encode())}


def test_a_plan_can_be_shown() -> None:
    assert removal.describe(removal.plan(image(A1), "a:1", A1, [], force=False)) == [
        f"untag {A1}: it was asked for",
        f"delete {ID}: no reference is left",
    ]
