"""Containers in memory: what was written is seen, by whatever name; what went is gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan import errors
from sampan.containers import store
from sampan.containers.model import Container, ContainerUnknown, Phase, State
from sampan.containers.roster import Roster
from sampan.containers.wanted import Config, HostConfig, NetworkingConfig, Wanted
from sampan.state.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "state.db")
    yield opened
    opened.close()


def container(letter: str, *, age: int = 0) -> Container:
    wanted = Wanted(Config(image="busybox"), HostConfig(), NetworkingConfig())
    return Container(letter * 64, f"name-{letter}", f"image-{letter}", Phase.CREATED, wanted, State(), 100 - age)


def add(database: Database, *items: Container) -> None:
    for item in items:
        database.write_blocking(lambda connection, item=item: store.add(connection, item))


def test_a_container_is_found_by_id_name_and_start_of_an_id(database: Database) -> None:
    add(database, container("a"), container("b"))
    roster = Roster(database)
    for reference in ("a" * 64, "name-a", "/name-a", "a", "aaaa"):
        assert roster.get(reference).id == "a" * 64
    for reference in ("", "c", "name", "a" * 65, "A"):
        with pytest.raises(ContainerUnknown):
            roster.get(reference)


def test_a_start_that_several_ids_have_is_refused(database: Database) -> None:
    one = dataclasses.replace(container("a"), id="ab" + "0" * 62, name="one")
    two = dataclasses.replace(container("a"), id="ab" + "1" * 62, name="two")
    add(database, one, two)
    with pytest.raises(errors.Invalid, match="multiple IDs"):
        Roster(database).get("ab")


def test_every_change_is_seen_by_who_made_it(database: Database) -> None:
    roster = Roster(database)
    assert roster.every() == ()
    add(database, container("a", age=2), container("b", age=1))
    assert [item.name for item in roster.every()] == ["name-b", "name-a"]
    database.write_blocking(lambda c: store.move(c, "a" * 64, Phase.STARTING))
    assert roster.get("a").phase is Phase.STARTING
    assert [item.id[0] for item in roster.of_image("image-b")] == ["b"]
    database.write_blocking(lambda c: store.remove(c, "b" * 64))
    with pytest.raises(ContainerUnknown):
        roster.get("name-b")
    assert len(roster.every()) == 1


def test_two_containers_that_exchange_their_names_are_both_found(database: Database) -> None:
    first, second = container("a"), container("b")
    add(database, first, second)
    roster = Roster(database)
    roster.every()
    for item, name in ((first, "spare"), (second, "name-a"), (first, "name-b")):
        database.write_blocking(lambda c, item=item, name=name: store.change(c, dataclasses.replace(item, name=name)))
    assert roster.get("name-a").id == second.id
    assert roster.get("name-b").id == first.id


def test_a_verb_that_failed_changes_nothing(database: Database) -> None:
    add(database, container("a"))
    roster = Roster(database)
    before = roster.get("a")
    with pytest.raises(store.PhaseConflict):
        database.write_blocking(lambda c: store.move(c, "a" * 64, Phase.PAUSED))
    assert roster.get("a") == before
