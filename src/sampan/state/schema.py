"""Every table of Sampan, on one page.

Times are integers of nanoseconds since the epoch; sizes are bytes; digests are `algorithm:hex` text; documents that
only one room reads (a container's configuration as the client posted it) are JSON text. A change here needs a migration
in `state/migrations/versions` (a test compares both).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# --- blobs: content on disk, and who needs it -------------------------------------------------------------------

blob = Table(
    "blob",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

# A holder is `image:<id>`, `build:<key>` or `manifest:<repository>@<digest>`: a blob nobody holds is rubbish after a
# grace period.
blob_hold = Table(
    "blob_hold",
    metadata,
    Column("holder", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Index("blob_hold_digest", "digest"),
)

# --- images -----------------------------------------------------------------------------------------------------

# A layer this host can mount: `diff_id` is the digest of the uncompressed tar.
layer = Table(
    "layer",
    metadata,
    Column("diff_id", Text, primary_key=True),
    Column("driver", Text, nullable=False),
    Column("tar_size_bytes", BigInteger, nullable=False),
    Column("content_size_bytes", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

# The forms in which other clients saw a layer (gzip, zstd, plain): blob digest <-> diff id.
layer_form = Table(
    "layer_form",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("diff_id", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("layer_form_diff_id", "diff_id"),
)

image = Table(
    "image",
    metadata,
    Column("id", Text, primary_key=True),  # digest of the configuration blob
    Column("manifest_digest", Text, nullable=False),
    Column("manifest_media_type", Text, nullable=False),
    Column("config", Text, nullable=False),  # JSON, as it was received
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),  # when this host got it
    Column("parent_id", Text, nullable=False, server_default=""),  # the image it was committed on, while that is here
)

image_layer = Table(
    "image_layer",
    metadata,
    Column("image_id", Text, ForeignKey("image.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),  # 0 is the lowest
    Column("diff_id", Text, ForeignKey("layer.diff_id"), nullable=False),
    Index("image_layer_diff_id", "diff_id"),
)

# `reference` is the full form (docker.io/library/busybox:latest, or …@sha256:… for a pull by digest).
image_reference = Table(
    "image_reference",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("image_id", Text, ForeignKey("image.id"), nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Index("image_reference_image_id", "image_id"),
)

# What a step of a build makes, by the key of everything it is made from (`build.keys`). `diff_id` is empty for a step
# that makes no layer; a layer that a row names stays, and its blob has the holder `build:<key>`.
build_cache = Table(
    "build_cache",
    metadata,
    Column("key", Text, primary_key=True),
    Column("parent", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("diff_id", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("used_ns", BigInteger, nullable=False),
    Column("uses", Integer, nullable=False),
    Index("build_cache_diff_id", "diff_id"),
)

# --- registry ---------------------------------------------------------------------------------------------------

repository = Table(
    "repository",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_ns", BigInteger, nullable=False),
)

# Which blobs a repository shows. Each row has a hold `repository:<name>`; rows that no manifest of the repository names
# are dropped after a grace period.
repository_blob = Table(
    "repository_blob",
    metadata,
    Column("repository", Text, ForeignKey("repository.name"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("created_ns", BigInteger, nullable=False),
    Index("repository_blob_digest", "digest"),
)

repository_manifest = Table(
    "repository_manifest",
    metadata,
    Column("repository", Text, ForeignKey("repository.name"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("artifact_type", Text, nullable=False, server_default=""),
    Column("subject", Text, nullable=False, server_default=""),
    Column("annotations", Text, nullable=False, server_default="{}"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("pushed_ns", BigInteger, nullable=False),
    Index("repository_manifest_subject", "repository", "subject"),
    Index("repository_manifest_digest", "digest"),
)

# An index's children: deleting by reachability must never take a child whose index is still there.
manifest_child = Table(
    "manifest_child",
    metadata,
    Column("repository", Text, primary_key=True),
    Column("parent", Text, primary_key=True),
    Column("child", Text, primary_key=True),
    Index("manifest_child_child", "repository", "child"),
)

repository_tag = Table(
    "repository_tag",
    metadata,
    Column("repository", Text, ForeignKey("repository.name"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Index("repository_tag_digest", "repository", "digest"),
)

upload = Table(
    "upload",
    metadata,
    Column("id", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("algorithm", Text, nullable=False),  # what the client said it will name the blob by
    Column("started_ns", BigInteger, nullable=False),
)

# --- networks ---------------------------------------------------------------------------------------------------

network = Table(
    "network",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("driver", Text, nullable=False),
    Column("interface", Text, nullable=False, server_default=""),  # the bridge on this host
    Column("subnet", Text, nullable=False, server_default=""),
    Column("gateway", Text, nullable=False, server_default=""),
    Column("internal", Boolean, nullable=False),
    Column("document", Text, nullable=False),  # JSON: ipam, options, labels
    Column("created_ns", BigInteger, nullable=False),
)

endpoint = Table(
    "endpoint",
    metadata,
    Column("id", Text, primary_key=True),
    Column("network_id", Text, ForeignKey("network.id"), nullable=False),
    Column("container_id", Text, nullable=False),
    Column("interface", Text, nullable=False),  # host end of the pair
    Column("address", Text, nullable=False),
    Column("mac", Text, nullable=False),
    Column("document", Text, nullable=False),  # JSON: name inside, aliases, hostname, dns
    UniqueConstraint("network_id", "container_id"),
    UniqueConstraint("network_id", "address"),
    Index("endpoint_container_id", "container_id"),
)

published_port = Table(
    "published_port",
    metadata,
    Column("endpoint_id", Text, ForeignKey("endpoint.id", ondelete="CASCADE"), primary_key=True),
    Column("protocol", Text, primary_key=True),
    Column("host_address", Text, primary_key=True),
    Column("host_port", Integer, primary_key=True),  # first of the range
    Column("container_port", Integer, nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),
)

# --- volumes and containers -------------------------------------------------------------------------------------

volume = Table(
    "volume",
    metadata,
    Column("name", Text, primary_key=True),
    Column("driver", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("anonymous", Boolean, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

volume_use = Table(
    "volume_use",
    metadata,
    Column("volume", Text, ForeignKey("volume.name"), primary_key=True),
    Column("container_id", Text, primary_key=True),
    Index("volume_use_container_id", "container_id"),
)

container = Table(
    "container",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("image_id", Text, nullable=False),
    Column("phase", Text, nullable=False),  # containers.model.Phase
    Column("wanted", Text, nullable=False),  # JSON: configuration, host configuration, networking, as validated
    Column("state", Text, nullable=False),  # JSON: pid, exit code, times, restart count
    Column("created_ns", BigInteger, nullable=False),
    Index("container_image_id", "image_id"),
)
