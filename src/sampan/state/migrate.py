"""Bring a database to this version's schema. Alembic is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy

from sampan import errors

HEAD = "0001"  # the newest file in migrations/versions; a test keeps them equal
MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaTooNew(errors.Conflict):
    """The database was written by a later Sampan."""


def to_head(engine: sqlalchemy.Engine) -> None:
    """Upgrade in one transaction per step. Raises `SchemaTooNew` if the database knows a revision that we do not."""
    present = _present(engine)
    if present == HEAD:
        return
    if present is not None and not list((MIGRATIONS / "versions").glob(f"{present}_*.py")):
        raise SchemaTooNew(
            f"the state database has schema {present}, this Sampan knows up to {HEAD}",
            remedy="start the Sampan version that wrote it, or restore the database from before the upgrade",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
        connection.commit()


def _present(engine: sqlalchemy.Engine) -> str | None:
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
