"""Lazy start's verbs: take in a layer by its outline, keep readers waiting for it, make it whole, let it go.

A layer's way: `begin` (files, metadata, guard; the image may be committed and containers may start), filling, and the
end, where the whole tar's digest is checked, the metadata is made again from it and compared, and the file becomes the
blob it stands for. A layer that fails that check is *forged*: its readers get EIO and `on_forged` hears of it.

Order of the durable steps at the end: the tar gets a second name, that becomes the blob with its row, then the pending
files go. A crash in between leaves a blob and a pending record; the next start removes the record.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import mmap
import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sampan import errors
from sampan.blobs.service import Blobs
from sampan.formats import outline
from sampan.formats.digest import Digest
from sampan.formats.reference import Reference
from sampan.host import files
from sampan.images import client, endpoints, model
from sampan.images.drivers.erofs import ErofsDriver
from sampan.images.drivers.model import LayerFacts
from sampan.images.lazy import guard, pending
from sampan.images.lazy.filling import Filler, Pace
from sampan.images.lazy.pending import Pending, Source

log = logging.getLogger(__name__)

JOIN_S = 5.0  # how long a stopping daemon waits for a layer that is being made whole
READ_BYTES = 1 << 20
AGAIN_S = 10.0
Tell = Callable[[str, Digest, str], None]  # (what happened, diff id, why), called in any thread


@dataclass(frozen=True, slots=True)
class Limits:
    """`mode`: which pulls are lazy. `wait_s`: how long a reader waits for a registry that does not answer. A speed of 0
    is no limit.
    """

    mode: Literal["off", "auto", "on"] = "auto"
    wait_s: float = 60.0
    background_bytes_per_s: int = 0


class Lazy:
    """All pending layers of a host. Thread-safe. `driver` is set before anything else is called."""

    driver: ErofsDriver

    def __init__(self, blobs: Blobs, settings: endpoints.Settings, limits: Limits, *, capable: bool = True) -> None:
        """Without being `capable` (an older kernel) it only makes whole what another kernel left pending."""
        self.tell: Tell = lambda _what, _diff_id, _why: None
        self._capable = capable
        self._blobs = blobs
        self._settings = settings
        self._folder = blobs.files.pending
        self._limits = limits
        self._guard = guard.Guard(self._on_access)
        self._filler = Filler(
            self._registry, self._local, limit_s=limits.wait_s, pace=Pace(limits.background_bytes_per_s)
        )
        self._lock = threading.RLock()
        self._layers: dict[str, Pending] = {}  # by diff id
        self._inodes: dict[tuple[int, int], Pending] = {}  # of this daemon's life, whole ones too
        self._registries: dict[str, client.RegistryClient] = {}
        self._threads: list[threading.Thread] = []
        self._attached: Path | None = None

    # --- the life of the daemon

    def restore(self, used: Collection[str]) -> int:
        """At start, before anything is mounted: find the pending layers among those that images use (hex digests);
        remove the others. Returns how many are pending.
        """
        if not self._folder.exists():
            return 0
        for name in sorted({entry.name.partition(".")[0] for entry in self._folder.iterdir()}):
            diff_id = Digest(f"sha256:{name}") if len(name) == 64 else None
            found = None
            if diff_id is not None and name in used and self._blobs.size(diff_id) is None:
                found = pending.load(self._folder, diff_id)
            if found is None:
                for entry in self._folder.glob(f"{name}*"):
                    entry.unlink()
                continue
            layer, description = found
            if not self.driver.has(name):
                self.driver.prepare_from(name, description.content)
            self._layers[name] = layer
            self._inodes[layer.inode] = layer
        return len(self._layers)

    def attach(self, keeper: Path) -> None:
        """With a keeper there, also with a new one after the old one's death: guard the pending layers and fill them.

        Without its guard a mount may have read holes: it is taken away, and its containers died with their keeper.
        Raises `GuardFailed`, `KernelError`.
        """
        if not self._capable:
            self._fill_unguarded()
            return
        held = self._guard.attach(keeper)
        again, self._attached = self._attached is not None, keeper
        for name, layer in list(self._layers.items()):
            if not held:
                self.driver.unmount(name)
            self._guard.add(layer.path)
            if not again:
                self._start(layer)
        self._guard.retire_stale()

    def _fill_unguarded(self) -> None:
        """Nothing of a pending layer can be mounted, so nobody reads it before it is whole."""
        for name, layer in list(self._layers.items()):
            self.driver.unmount(name)
            descriptor = os.open(layer.path, os.O_RDWR | os.O_CLOEXEC)
            layer.lend(descriptor)
            os.close(descriptor)
            self._start(layer)

    @property
    def ready(self) -> bool:
        """Whether layers can be taken in by their outlines."""
        return self._guard.ready and not self._filler.stopping.is_set()

    def close(self) -> None:
        """End filling; who waits goes on waiting, for the next daemon."""
        self._filler.stopping.set()
        for layer in list(self._layers.values()):
            with layer.changed:
                layer.stopped = True
                layer.changed.notify_all()
        for thread in self._threads:
            thread.join(JOIN_S)  # one that a registry keeps waiting ends with the process, and nothing is lost
        self._guard.close()
        for registry in self._registries.values():
            registry.close()

    # --- layers

    def has(self, diff_id: str) -> bool:
        """Whether the layer (hex) is pending."""
        return diff_id in self._layers

    def path(self, diff_id: str) -> Path | None:
        """The file in place of a pending layer's tar, guarded. Raises `GuardFailed` while it cannot be."""
        layer = self._layers.get(diff_id)
        if layer is None:
            return None
        self._guard.add(layer.path)
        return layer.path

    def takes(self, wanted: Reference, credentials: model.Credentials | None) -> bool:
        """Whether a pull shall be lazy. If so its registry is spoken to with these credentials from now on; they are
        not kept across a restart.

        A digest promises content that is checked before anybody uses it: only `on` takes that lazily.
        """
        allowed = self._limits.mode == "on" or (self._limits.mode == "auto" and wanted.digest is None)
        own = wanted.host in self._settings.own_registry  # its blobs are here
        if not allowed or own or not self.ready:
            return False
        with self._lock:
            old = self._registries.get(wanted.host)
            self._registries[wanted.host] = client.RegistryClient(wanted.host, self._settings, credentials)
        if old is not None:
            old.close()
        return True

    def begin(self, content: bytes, found: outline.Outline, source: Source) -> LayerFacts:
        """Take in a layer by its outline, durably. The caller has the layer's turn. Raises what the driver refuses."""
        self._filler.hush()
        facts = self.driver.prepare_from(found.diff_id.hex, found.content)
        files.make_directories(self._folder)
        layer = pending.create(self._folder, content, found, source)
        try:
            self._guard.add(layer.path)
        except BaseException:
            layer.close()
            layer.remove()
            raise
        with self._lock:
            self._layers[found.diff_id.hex] = layer
            self._inodes[layer.inode] = layer
        self._filler.hush()
        self._start(layer)
        return facts

    def drop(self, diff_ids: Iterable[str]) -> None:
        """Layers (hex) that no image uses any more and that are unmounted: their filling ends, their files go.

        They stay guarded: what still dies with such a layer mounted reads no holes.
        """
        for name in diff_ids:
            with self._lock:
                layer = self._layers.pop(name, None)
            if layer is not None:
                layer.end("its image was removed")
                layer.remove()

    def wait(self, diff_ids: Iterable[str], say: Callable[[Pending], None]) -> None:
        """Wait until these layers (hex) are whole; `say` is called now and then and may raise. Raises `NotHere`."""
        for name in diff_ids:
            layer = self._layers.get(name)
            while layer is not None and not layer.whole:
                say(layer)
                with layer.changed:
                    layer.check()
                    if layer.trouble:
                        raise pending.NotHere(
                            f"layer {layer.diff_id.short} has not arrived", why=layer.trouble, remedy="try again later"
                        )
                    layer.changed.wait(0.5)

    # --- readers

    def _on_access(self, access: guard.Access) -> None:
        status = os.fstat(access.descriptor)
        layer = self._inodes.get((status.st_dev, status.st_ino))
        if layer is None:
            self._guard.answer(access, 0 if self._is_blob(access.descriptor) else errno.EIO)
            return
        layer.lend(access.descriptor)
        if layer.whole or layer.here(access.first, access.count):
            self._guard.answer(access, 0)
        elif layer.over:
            self._guard.answer(access, errno.EIO)
        elif not self._filler.stopping.is_set():
            # A thread for each: the keeper lets a bounded number of readers wait.
            own = replace(access, descriptor=-1)
            threading.Thread(target=self._serve, args=(layer, own), name="lazy-read", daemon=True).start()

    def _is_blob(self, descriptor: int) -> bool:
        """Whether a guarded file that is pending no more is a blob: then every byte is there. Else it was removed."""
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name.partition(".")[0]
        try:
            blob = self._blobs.files.path(Digest(f"sha256:{name}"))
            if not os.path.samestat(os.fstat(descriptor), blob.stat()):
                return False
        except FileNotFoundError:
            return False
        self._guard.remove(blob)  # what a daemon that was killed had no time for
        return True

    def _serve(self, layer: Pending, access: guard.Access) -> None:
        try:
            self._filler.serve(layer, access.first, access.count)
        except Exception as error:
            if self._filler.stopping.is_set():
                return  # the next daemon is asked again
            log.warning("a reader of layer %s fails: %s", layer.diff_id.short, error)
            self.tell("lazy-fail", layer.diff_id, str(error))
            self._guard.answer(access, errno.EIO)
            if not isinstance(error, errors.SampanError | OSError):
                raise
        else:
            self._guard.answer(access, 0)

    # --- filling

    def _start(self, layer: Pending) -> None:
        # Reading one byte makes the event that lends the layer its descriptor. The kernel holds that thread until the
        # byte is there, so nobody waits for it.
        threading.Thread(target=_touch, args=(layer.path,), name="lazy-touch", daemon=True).start()
        filling = threading.Thread(target=self._fill, args=(layer,), name="lazy-fill", daemon=True)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(filling)
        filling.start()

    def _fill(self, layer: Pending) -> None:
        try:
            while self._filler.fill(layer, lambda error: self._trouble(layer, error)):
                try:
                    self._finish(layer)
                    return
                except (errors.SampanError, OSError) as error:  # a full disk: every chunk is here, so try again
                    layer.trouble = str(error)
                    self._trouble(layer, error)
                    self._filler.stopping.wait(AGAIN_S)
        finally:
            if layer.whole or layer.over:
                layer.close()

    def _trouble(self, layer: Pending, error: Exception) -> None:
        log.warning("layer %s does not arrive: %s", layer.diff_id.short, error)
        self.tell("lazy-wait", layer.diff_id, str(error))

    def _finish(self, layer: Pending) -> None:
        """Check the whole, make it the blob, and forget that it was pending."""
        descriptor, name = layer.descriptor(), layer.diff_id.hex
        os.fdatasync(descriptor)
        why = self._fault(layer, descriptor)
        if why:
            log.error("layer %s is forged: %s", layer.diff_id.short, why)
            layer.end(why)
            self._layers.pop(name, None)
            self.driver.remove(name)  # its metadata must not serve the true tar
            layer.remove()
            self.tell("lazy-forged", layer.diff_id, why)
            return
        twin = self._blobs.files.ingest / secrets.token_hex(16)
        os.link(layer.path, twin)
        with self._lock:
            if self._layers.get(name) is not layer:  # removed meanwhile
                twin.unlink()
                return
            self._blobs.adopt(twin, layer.diff_id, layer.size_bytes)
            twin.unlink(missing_ok=True)
            self._blobs.end_lease([layer.diff_id])
            with layer.changed:
                layer.whole = True
                layer.changed.notify_all()
            self._guard.remove(layer.path)
            del self._layers[name]
            layer.remove()
            if not self._layers:
                self._guard.let_go_of_stale()
        log.info("layer %s has arrived", layer.diff_id.short)
        self.tell("lazy-complete", layer.diff_id, "")

    def _fault(self, layer: Pending, descriptor: int) -> str:
        """Why the whole tar is not what was promised; "" if it is."""
        digest = hashlib.sha256()
        for start in range(0, layer.size_bytes, READ_BYTES):
            digest.update(os.pread(descriptor, READ_BYTES, start))
        if digest.hexdigest() != layer.diff_id.hex:
            return f"its content has digest sha256:{digest.hexdigest()}"
        with mmap.mmap(descriptor, layer.size_bytes, prot=mmap.PROT_READ) as content:
            if not self.driver.agrees(layer.diff_id.hex, content):
                return "its outline told of other files than it has"
        return ""

    def _local(self, layer: Pending) -> Path | None:
        return self._blobs.files.path(layer.diff_id) if self._blobs.size(layer.diff_id) is not None else None

    def _registry(self, source: Source) -> client.RegistryClient:
        with self._lock:
            found = self._registries.get(source.host)
            if found is None:
                found = self._registries[source.host] = client.RegistryClient(source.host, self._settings, None)
            return found


def _touch(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # removed at once
    try:
        os.pread(descriptor, 1, 0)
    except OSError as error:
        log.debug("%s: %s", path, error)
    finally:
        os.close(descriptor)
