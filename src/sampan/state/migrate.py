"""Bring a database to this version's schema.

A new database gets the schema page at once. Alembic, which costs a daemon 11 MiB for as long as it runs, is imported
only to migrate an older one.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy

from sampan import errors
from sampan.state import schema

HEAD = "0001"  # the newest file in migrations/versions; a test keeps them equal
MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = sqlalchemy.Table(  # as Alembic makes it
    "alembic_version", sqlalchemy.MetaData(), sqlalchemy.Column("version_num", sqlalchemy.String(32), primary_key=True)
)


class SchemaTooNew(errors.Conflict):
    """The database was written by a later Sampan."""


def to_head(engine: sqlalchemy.Engine) -> None:
    """Create or upgrade. Raises `SchemaTooNew` if the database knows a revision that we do not."""
    tables = sqlalchemy.inspect(engine).get_table_names()
    if not tables:
        _create(engine)
        return
    present = _present(engine) if _VERSION.name in tables else None
    if present == HEAD:
        return
    if present is not None and not list((MIGRATIONS / "versions").glob(f"{present}_*.py")):
        raise SchemaTooNew(
            f"the state database has schema {present}, this Sampan knows up to {HEAD}",
            remedy="start the Sampan version that wrote it, or restore the database from before the upgrade",
        )
    upgrade(engine)


def upgrade(engine: sqlalchemy.Engine) -> None:
    """Run the missing migrations, one transaction each."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
        connection.commit()


def _create(engine: sqlalchemy.Engine) -> None:
    """Every table and the mark of the newest migration, in one transaction."""
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        _VERSION.create(connection)
        connection.execute(_VERSION.insert().values(version_num=HEAD))


def _present(engine: sqlalchemy.Engine) -> str | None:
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.select(_VERSION.c.version_num)).scalar()
