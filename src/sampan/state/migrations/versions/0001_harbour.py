"""The first schema. Until the first release it is the schema page itself; later revisions are written step by step."""

from alembic import op

from sampan.state import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.metadata.create_all(op.get_bind())


def downgrade() -> None:
    schema.metadata.drop_all(op.get_bind())
