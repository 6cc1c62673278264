"""What a registry has under a name, without taking it in: the descriptor and the platforms. Runs in a worker thread."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.formats import oci, reference
from sampan.images import client, documents, platforms


@dataclass(frozen=True, slots=True)
class Remote:
    """`descriptor` points at the manifest or list itself; `platforms` in the order of the list."""

    descriptor: oci.Descriptor
    platforms: tuple[oci.Platform, ...]


def describe(registry: client.RegistryClient, wanted: reference.Reference) -> Remote:
    """Ask for the manifest, and for the configuration of a lone one, which alone names its platform.

    Raises `PullDenied`, `NotInRegistry`, `WrongContent`, `NotAnImage`, `Unreachable`.
    """
    found = registry.manifest(wanted)
    descriptor = oci.Descriptor(media_type=found.media_type, digest=found.digest, size=len(found.content))
    document = documents.read(found.content, found.media_type)
    if isinstance(document, oci.Index):
        return Remote(descriptor, tuple(entry.platform for entry in document.manifests if entry.platform is not None))
    content = registry.small_blob(wanted.path, document.config)
    config = documents.read_config(content, len(document.layers))
    return Remote(descriptor, (platforms.of_config(config.document),))
