"""The entries of a layer tar -> the tree of that layer, with every rule of what a layer may contain. Pure.

Words: a *whiteout* (`.wh.name`) hides a name of the layers below, an *opaque* directory (`.wh..wh..opq`) hides all of
them. Both apply to lower layers only, whatever their order in the tar. Source: OCI image-spec, layer.md.

The tree is built in memory and drivers create from the tree, so no rule here depends on what is on the host:
- names are taken below the layer's root; leading `/` and `./` fall away, `..` is refused;
- of two entries with one name the last wins; a directory over a directory keeps its children;
- a parent that is missing is made (0755, root); one that is a file is refused; one that is a symbolic link is followed
  inside this tree, and refused if it leads to no directory of this layer;
- a hard link names an earlier entry of this layer that is no directory;
- overlayfs' own attributes and raw 0:0 devices, which would act on the layers below, never get in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sampan.formats import layer_rules
from sampan.formats.layer_rules import MAX_COMPONENT, WHITEOUT, InvalidLayer
from sampan.formats.tar import EntryKind, TarEntry
from sampan.formats.tar_fields import Segment

__all__ = ["InvalidLayer", "LayerTree", "Node", "build", "walk"]

MAX_DEPTH: Final = 256  # directories; real trees stay below 100, and removing one holds a descriptor for each
MAX_IMPLIED: Final = 65_536  # directories made without an entry: each may cost a stranger a handful of bytes
MAX_LINK_HOPS: Final = 40  # as the kernel's path walk
MAX_LINK_STEPS: Final = 1_000_000  # parts of link targets walked in one layer: work a small tar can ask for
MAX_WARNINGS: Final = 20  # kept as text; the rest are counted
UNMAPPED_ID: Final = 0xFFFF_FFFF  # (uid_t) -1 means "leave it" to chown and no id at all to the kernel

_OPAQUE: Final = b".wh..wh..opq"
_AUFS: Final = b".wh..wh."


class Node:
    """One inode of the layer. Directories have `children`; a file with several names is one node under each of them."""

    __slots__ = (
        "children",
        "data_offset",
        "gid",
        "kind",
        "link",
        "mode",
        "mtime_ns",
        "nlink",
        "opaque",
        "rdev",
        "segments",
        "size_bytes",
        "uid",
        "whiteout",
        "xattrs",
    )

    def __init__(self, entry: TarEntry) -> None:
        self.kind = entry.kind
        self.mode = entry.mode
        self.uid = entry.uid
        self.gid = entry.gid
        self.mtime_ns = entry.mtime_ns
        self.size_bytes = entry.size_bytes
        self.link = entry.link
        self.rdev = (entry.dev_major, entry.dev_minor)
        self.data_offset = entry.data_offset
        self.segments: tuple[Segment, ...] | None = entry.segments
        self.xattrs = entry.xattrs
        self.children: dict[bytes, Node] | None = {} if entry.kind is EntryKind.DIRECTORY else None
        self.nlink = 1
        self.opaque = False
        self.whiteout = False


@dataclass(frozen=True, slots=True)
class LayerTree:
    """A layer as the drivers make it. `content_bytes` counts each stored file once, holes not at all."""

    root: Node
    entries: int
    content_bytes: int
    warnings: tuple[str, ...]


def build(entries: Iterable[TarEntry]) -> LayerTree:
    """The tree of a layer. Raises `InvalidLayer`, or whatever the iterator raises."""
    builder = _Builder()
    for entry in entries:
        builder.add(entry)
    return LayerTree(builder.root, builder.entries, builder.content_bytes, builder.all_warnings())


def walk(root: Node) -> Iterator[tuple[bytes, Node]]:
    """Every (path, node) below the root, parents before children, names in byte order; no leading slash."""
    stack = [(b"", root)]
    while stack:
        path, node = stack.pop()
        if path:
            yield path, node
        if node.children:
            prefix = path + b"/" if path else b""
            stack += [(prefix + name, child) for name, child in sorted(node.children.items(), reverse=True)]


class _Builder:
    """The tree so far. `_parents` remembers raw directory names already resolved; it is dropped when one may change."""

    def __init__(self) -> None:
        self.root = Node(TarEntry(b"", EntryKind.DIRECTORY, 0o755))
        self.entries = 0
        self.content_bytes = 0
        self._warnings: list[str] = []
        self._warned = 0
        self._parents: dict[bytes, Node] = {}
        self._implied = 0
        self._link_steps = 0

    def add(self, entry: TarEntry) -> None:
        self.entries += 1
        directory, _, name = entry.path.rstrip(b"/").rpartition(b"/")
        if name in (b"", b"."):
            directory, name = _without_dot(entry.path)
        if _AUFS in entry.path and _is_aufs(directory, name):
            return
        if not name:
            self._add_root(entry)
            return
        if len(name) > MAX_COMPONENT or name == b"..":
            raise InvalidLayer(entry.path, layer_rules.component_fault(name))
        parent = self._parents.get(directory) or self._resolve_parent(entry, directory)
        if name.startswith(WHITEOUT):
            self._hide(entry, parent, name)
        elif entry.kind is EntryKind.HARD_LINK:
            self._link(entry, parent, name)
        else:
            self._place(parent, name, self._node(entry))

    def all_warnings(self) -> tuple[str, ...]:
        hidden = self._warned - len(self._warnings)
        return (*self._warnings, *([f"and {hidden} more warnings"] if hidden else []))

    def _warn(self, path: bytes, text: str) -> None:
        self._warned += 1
        if len(self._warnings) < MAX_WARNINGS:
            self._warnings.append(f"{path[:200].decode('utf-8', 'backslashreplace')}: {text}")

    def _node(self, entry: TarEntry) -> Node:
        node = Node(entry)
        if not (0 <= node.uid < UNMAPPED_ID and 0 <= node.gid < UNMAPPED_ID):
            self._own(entry, node)
        if entry.xattrs:
            node.xattrs = self._accepted_xattrs(entry)
        if node.kind is EntryKind.CHAR or node.kind is EntryKind.BLOCK_DEVICE:
            layer_rules.check_device(entry)
        elif node.kind is EntryKind.SYMLINK:
            if not node.link or len(node.link) > 4095:
                raise InvalidLayer(entry.path, "a symbolic link's target has 1 to 4095 bytes")
            node.mode = 0o777
        self.content_bytes += entry.size_bytes if entry.segments is None else sum(s[1] for s in entry.segments)
        return node

    def _own(self, entry: TarEntry, node: Node) -> None:
        if not (0 <= node.uid <= UNMAPPED_ID and 0 <= node.gid <= UNMAPPED_ID):
            raise InvalidLayer(entry.path, f"owner {node.uid}:{node.gid} is not between 0 and 4294967295")
        node.uid, node.gid = node.uid % UNMAPPED_ID, node.gid % UNMAPPED_ID
        self._warn(entry.path, "the id 4294967295 stands for no one; root owns it instead")

    def _accepted_xattrs(self, entry: TarEntry) -> dict[bytes, bytes]:
        kept: dict[bytes, bytes] = {}
        for name, value in entry.xattrs.items():
            fault, strip = layer_rules.judge_xattr(entry.kind, name, value)
            if fault and not strip:
                raise InvalidLayer(entry.path, fault)
            if strip:
                self._warn(entry.path, fault)
            else:
                kept[name] = value
        if sum(map(len, kept)) + sum(map(len, kept.values())) > layer_rules.MAX_XATTRS_BYTES:
            raise InvalidLayer(entry.path, f"its attributes have more than {layer_rules.MAX_XATTRS_BYTES} bytes")
        return kept

    def _add_root(self, entry: TarEntry) -> None:
        if entry.kind is not EntryKind.DIRECTORY:
            raise InvalidLayer(entry.path, "the root of a layer is a directory")
        node = self._node(entry)
        node.children, node.opaque = self.root.children, self.root.opaque
        self.root = node
        self._parents.clear()

    def _place(self, parent: Node, name: bytes, node: Node) -> None:
        children = parent.children
        assert children is not None
        old = children.get(name)
        children[name] = node
        if old is None:
            return
        old.nlink -= 1
        node.opaque = node.opaque or old.opaque or old.whiteout
        if node.children is not None and old.children is not None:
            node.children = old.children
        self._parents.clear()

    def _hide(self, entry: TarEntry, parent: Node, name: bytes) -> None:
        if name == _OPAQUE:
            parent.opaque = True
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise InvalidLayer(entry.path, "a whiteout names a file of the same directory")
        assert parent.children is not None
        present = parent.children.get(hidden)
        if present is None:
            node = Node(TarEntry(entry.path, EntryKind.CHAR, 0, mtime_ns=entry.mtime_ns))
            node.whiteout = True
            parent.children[hidden] = node
        else:
            present.opaque = True  # what this layer itself has there stays; only what lies below is hidden

    def _link(self, entry: TarEntry, parent: Node, name: bytes) -> None:
        directory, _, base = entry.link.rstrip(b"/").rpartition(b"/")
        holder = self._parents.get(directory) or self._find(entry, directory)
        target = None if holder is None or holder.children is None else holder.children.get(base)
        if target is None or target.whiteout:
            raise InvalidLayer(entry.path, f"its hard link target {entry.link[:200]!r} is no earlier file of the layer")
        if target.children is not None:
            raise InvalidLayer(entry.path, f"its hard link target {entry.link[:200]!r} is a directory")
        assert parent.children is not None
        if parent.children.get(name) is not target:
            target.nlink += 1
            self._place(parent, name, target)

    def _resolve_parent(self, entry: TarEntry, directory: bytes) -> Node:
        """The node of a directory name, made where it is missing."""
        node = self._descend(entry, directory, make=True)
        assert node is not None
        self._parents[directory] = node
        return node

    def _find(self, entry: TarEntry, directory: bytes) -> Node | None:
        return self._descend(entry, directory, make=False)

    def _descend(self, entry: TarEntry, directory: bytes, *, make: bool) -> Node | None:
        """Walk down from the root. Links are followed within this tree; `..` counts only inside their targets."""
        trail = [self.root]
        rest = [(part, False) for part in reversed(directory.split(b"/"))]
        hops = 0
        while rest:
            part, from_link = rest.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not from_link:
                    raise InvalidLayer(entry.path, layer_rules.component_fault(part))
                del trail[max(1, len(trail) - 1) :]
                continue
            child = self._step(entry, trail[-1], part, make=make and not from_link)
            if child is None:
                return None
            if child.kind is EntryKind.SYMLINK:
                hops += 1
                if hops > MAX_LINK_HOPS:
                    raise InvalidLayer(entry.path, f"more than {MAX_LINK_HOPS} symbolic links lead to it")
                if child.link.startswith(b"/"):
                    del trail[1:]
                pieces = child.link.split(b"/")
                self._link_steps += len(pieces)
                if self._link_steps > MAX_LINK_STEPS:
                    raise InvalidLayer(entry.path, "the layer leads through too many symbolic links")
                rest += [(piece, True) for piece in reversed(pieces)]
                continue
            if child.children is None:
                raise InvalidLayer(entry.path, f"its parent {part!r} is not a directory")
            trail.append(child)
            if len(trail) > MAX_DEPTH:
                raise InvalidLayer(entry.path, f"it lies deeper than {MAX_DEPTH} directories")
        return trail[-1]

    def _step(self, entry: TarEntry, parent: Node, part: bytes, *, make: bool) -> Node | None:
        assert parent.children is not None
        child = parent.children.get(part)
        if child is not None and not child.whiteout:
            return child
        if len(part) > MAX_COMPONENT or part.startswith(WHITEOUT):
            raise InvalidLayer(entry.path, layer_rules.component_fault(part))
        if not make:
            if entry.kind is EntryKind.HARD_LINK:
                return None
            raise InvalidLayer(entry.path, "a symbolic link above it leads to no directory of this layer")
        self._implied += 1
        if self._implied > MAX_IMPLIED:
            raise InvalidLayer(entry.path, f"more than {MAX_IMPLIED} directories have no entry of their own")
        made = Node(TarEntry(b"", EntryKind.DIRECTORY, 0o755, mtime_ns=entry.mtime_ns))
        made.opaque = child is not None  # it was whited out: what lies below stays hidden
        parent.children[part] = made
        return made


def _without_dot(path: bytes) -> tuple[bytes, bytes]:
    """(directory, name) of a path that ends in `/.` or names the root."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return b"/".join(parts[:-1]), parts[-1] if parts else b""


def _is_aufs(directory: bytes, name: bytes) -> bool:
    """Whether it is aufs' own bookkeeping (`.wh..wh.plnk` and the like), which is passed over."""
    inside = any(part.startswith(_AUFS) for part in directory.split(b"/"))
    return inside or (name.startswith(_AUFS) and name != _OPAQUE)
