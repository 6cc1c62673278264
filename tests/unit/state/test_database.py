"""One writer, group commits, readers that see what was committed, and a schema that the migrations make."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from sampan.state import migrate, schema
from sampan.state.database import Database, DatabaseClosed


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "state.db")
    yield opened
    opened.close()


def put(name: str) -> object:
    return lambda connection: connection.execute(schema.repository.insert().values(name=name, created_ns=1))


def names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(sqlalchemy.select(schema.repository.c.name)).scalars())


def test_what_a_verb_wrote_is_read_by_others(database: Database) -> None:
    asyncio.run(database.write(put("a")))
    assert names(database) == {"a"}


def test_a_reader_sees_later_commits(database: Database) -> None:
    assert names(database) == set()
    database.write_blocking(put("later"))
    assert names(database) == {"later"}


def test_one_verb_that_fails_undoes_only_itself(database: Database) -> None:
    gate = threading.Event()
    blocker = database.submit(lambda connection: gate.wait(10))  # so that the next three are one batch
    good = [database.submit(put("one")), database.submit(put("two"))]
    bad = database.submit(put("one"))
    gate.set()
    assert blocker.result() is True
    for job in good:
        job.result()
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        bad.result()
    assert names(database) == {"one", "two"}


def test_writers_in_many_threads_lose_nothing(database: Database) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [database.write_blocking(put(f"{n}-{i}")) for i in range(20)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(database)) == 160


def test_a_cancelled_caller_does_not_cancel_the_verb(database: Database) -> None:
    async def conversation() -> None:
        gate = threading.Event()
        blocker = database.submit(lambda connection: gate.wait(10))
        task = asyncio.ensure_future(database.write(put("kept")))
        await asyncio.sleep(0)
        task.cancel()
        gate.set()
        await asyncio.wrap_future(blocker)
        with pytest.raises(asyncio.CancelledError):
            await task
        await database.write(put("after"))

    asyncio.run(conversation())
    # A queued verb whose future was cancelled is still carried out: the state must not depend on who listens.
    assert names(database) == {"kept", "after"}


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    opened = Database.open(tmp_path / "state.db")
    opened.close()
    opened.close()
    with pytest.raises(DatabaseClosed):
        opened.submit(put("x"))


def test_acknowledged_means_flushed(tmp_path: Path) -> None:
    Database.open(tmp_path / "state.db").close()
    connection = sqlite3.connect(tmp_path / "state.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    opened = Database.open(tmp_path / "state.db")
    settings = opened.submit(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar()).result()
    foreign = opened.submit(lambda c: c.exec_driver_sql("PRAGMA foreign_keys").scalar()).result()
    opened.close()
    assert (settings, foreign) == (2, 1)  # FULL, on


@pytest.mark.parametrize("make", [migrate.to_head, migrate.upgrade], ids=["new", "migrated"])
def test_a_new_database_and_the_migrations_make_the_schema_page(
    tmp_path: Path, make: Callable[[sqlalchemy.Engine], None]
) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    make(engine)
    migrate.to_head(engine)  # finds nothing to do
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    engine.dispose()


def test_the_head_is_the_newest_migration() -> None:
    newest = max(path.name.partition("_")[0] for path in (migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert newest == migrate.HEAD


def test_a_database_of_a_later_sampan_is_refused(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    migrate.to_head(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(migrate.SchemaTooNew, match="9999"):
        migrate.to_head(engine)
    engine.dispose()
