"""The rules of a layer, on entries made by hand."""

from __future__ import annotations

import pytest

from sampan.formats import layer
from sampan.formats.layer import InvalidLayer, LayerTree
from sampan.formats.tar import EntryKind, TarEntry

FILE, DIRECTORY, SYMLINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.SYMLINK
Made = dict[bytes, str]


def entry(path: bytes, kind: EntryKind = FILE, link: bytes = b"", **values: object) -> TarEntry:
    return TarEntry(path, kind, 0o755, link=link)._replace(**values)  # type: ignore[arg-type]


def shown(tree: LayerTree) -> Made:
    """Each path with a letter for its kind, and what hides lower layers."""
    letters = {FILE: "f", DIRECTORY: "d", SYMLINK: "l", EntryKind.CHAR: "c", EntryKind.FIFO: "p"}
    made: Made = {}
    for path, node in layer.walk(tree.root):
        opaque = " opaque" if node.opaque and node.children is not None else ""
        made[path] = "whiteout" if node.whiteout else letters[node.kind] + opaque
    return made


TREES: list[tuple[str, list[TarEntry], Made]] = [
    ("dots and slashes fall away", [entry(b"./a//./b"), entry(b"/c")], {b"a": "d", b"a/b": "f", b"c": "f"}),
    ("the root may have an entry", [entry(b"./", DIRECTORY), entry(b".", DIRECTORY), entry(b"/", DIRECTORY)], {}),
    ("a name may end in a dot component", [entry(b"a/.", DIRECTORY)], {b"a": "d"}),
    ("a whiteout hides a lower name", [entry(b"d/.wh.x")], {b"d": "d", b"d/x": "whiteout"}),
    ("a whiteout before its file", [entry(b".wh.x"), entry(b"x")], {b"x": "f"}),
    ("a whiteout after its file", [entry(b"x"), entry(b".wh.x")], {b"x": "f"}),
    ("a whiteout before its directory", [entry(b".wh.x"), entry(b"x", DIRECTORY)], {b"x": "d opaque"}),
    ("a whiteout after its directory", [entry(b"x", DIRECTORY), entry(b".wh.x")], {b"x": "d opaque"}),
    ("a whiteout before a file below it", [entry(b".wh.x"), entry(b"x/y")], {b"x": "d opaque", b"x/y": "f"}),
    ("an opaque directory keeps its own", [entry(b"x/y"), entry(b"x/.wh..wh..opq")], {b"x": "d opaque", b"x/y": "f"}),
    (
        "a directory entry after the opaque mark",
        [entry(b"x/.wh..wh..opq"), entry(b"x", DIRECTORY)],
        {b"x": "d opaque"},
    ),
    ("aufs files are passed over", [entry(b".wh..wh.orph/x"), entry(b"d/.wh..wh.plnk", DIRECTORY)], {}),
    ("a file replaces a link", [entry(b"x", SYMLINK, b"/"), entry(b"x")], {b"x": "f"}),
    ("a file replaces a directory", [entry(b"x/y"), entry(b"x")], {b"x": "f"}),
    ("a directory replaces a file", [entry(b"x"), entry(b"x", DIRECTORY), entry(b"x/y")], {b"x": "d", b"x/y": "f"}),
    (
        "a link on the way is followed",
        [entry(b"r/real", DIRECTORY), entry(b"l", SYMLINK, b"../../r/./real"), entry(b"l/x")],
        {b"l": "l", b"r": "d", b"r/real": "d", b"r/real/x": "f"},
    ),
    (
        "after a directory is replaced its name means the new one",
        [entry(b"a/b/x"), entry(b"a"), entry(b"a", DIRECTORY), entry(b"a/b/y")],
        {b"a": "d", b"a/b": "d", b"a/b/y": "f"},
    ),
]


@pytest.mark.parametrize(("what", "entries", "expected"), TREES, ids=[tree[0] for tree in TREES])
def test_entries_make_the_tree_the_rules_say(what: str, entries: list[TarEntry], expected: Made) -> None:
    assert shown(layer.build(entries)) == expected, what


def test_missing_parents_belong_to_root_and_are_open_to_read() -> None:
    tree = layer.build([entry(b"a/b", mtime_ns=5, uid=7)])
    assert tree.root.children is not None
    made = tree.root.children[b"a"]
    assert (made.mode, made.uid, made.gid, made.mtime_ns) == (0o755, 0, 0, 5)


def test_hard_links_share_one_node_until_a_name_is_used_again() -> None:
    link = entry(b"b", EntryKind.HARD_LINK, b"./a")
    tree = layer.build([entry(b"a", size_bytes=9), link, link])
    nodes = dict(layer.walk(tree.root))
    assert nodes[b"a"] is nodes[b"b"]
    assert nodes[b"a"].nlink == 2
    tree = layer.build([entry(b"a"), link, entry(b"a", size_bytes=3)])
    nodes = dict(layer.walk(tree.root))
    assert (nodes[b"a"].nlink, nodes[b"b"].nlink, nodes[b"a"].size_bytes) == (1, 1, 3)


def test_facts_count_entries_and_content() -> None:
    tree = layer.build([entry(b"a", size_bytes=9), entry(b"s", size_bytes=1000, segments=((0, 10),))])
    assert (tree.entries, tree.content_bytes) == (2, 19)


REFUSED: list[tuple[str, list[TarEntry]]] = [
    ("climbs", [entry(b"a/../b")]),
    ("climbs", [entry(b"..")]),
    ("is not a directory", [entry(b"a"), entry(b"a/b")]),
    ("no directory of this layer", [entry(b"l", SYMLINK, b"lower"), entry(b"l/x")]),
    ("symbolic links lead", [entry(b"l", SYMLINK, b"l"), entry(b"l/x")]),
    ("no earlier file", [entry(b"b", EntryKind.HARD_LINK, b"a"), entry(b"a")]),
    ("no earlier file", [entry(b".wh.a"), entry(b"b", EntryKind.HARD_LINK, b"a")]),
    ("is a directory", [entry(b"a", DIRECTORY), entry(b"b", EntryKind.HARD_LINK, b"a")]),
    ("longer than 255", [entry(b"n" * 256)]),
    ("longer than 255", [entry(b"n" * 256 + b"/x")]),
    ("deeper than", [entry(b"d/" * 600 + b"x")]),
    ("whiteout is not a directory", [entry(b".wh.a/x")]),
    ("whiteout names a file", [entry(b"d/.wh...")]),
    ("0:0 character device", [entry(b"x", EntryKind.CHAR)]),
    ("root of a layer", [entry(b"", FILE)]),
    ("1 to 4095 bytes", [entry(b"x", SYMLINK, b"")]),
    ("owner", [entry(b"x", uid=2**32)]),
    ("security.capability", [entry(b"x", xattrs={b"security.capability": bytes(20)})]),
    ("security.capability", [entry(b"x", DIRECTORY, xattrs={b"security.capability": b"\0\0\0\2" + bytes(16)})]),
    ("malformed", [entry(b"x", xattrs={b"system.posix_acl_access": b"?"})]),
    ("more than 65535 bytes", [entry(b"x", xattrs={b"user.x": bytes(70_000)})]),
    ("more than 131072 bytes", [entry(b"x", xattrs={b"user.%d" % n: bytes(60_000) for n in range(3)})]),
]


@pytest.mark.parametrize(("why", "entries"), REFUSED, ids=[f"{n}-{row[0]}" for n, row in enumerate(REFUSED)])
def test_what_a_layer_may_not_hold_is_refused_with_the_reason(why: str, entries: list[TarEntry]) -> None:
    with pytest.raises(InvalidLayer, match=why):
        layer.build(entries)


def test_attributes_that_reach_other_layers_are_left_out_with_a_warning() -> None:
    kept = {b"user.a": b"1", b"trusted.b": b"", b"security.capability": b"\0\0\0\2" + bytes(16)}
    stripped = {b"trusted.overlay.opaque": b"y", b"user.overlay.redirect": b"/", b"system.nfs4_acl": b"?"}
    tree = layer.build([entry(b"x", xattrs=kept | stripped), entry(b"p", EntryKind.FIFO, xattrs={b"user.a": b"1"})])
    nodes = dict(layer.walk(tree.root))
    assert nodes[b"x"].xattrs == kept
    assert nodes[b"p"].xattrs == {}
    assert len(tree.warnings) == 4


def test_warnings_are_counted_beyond_the_first_twenty() -> None:
    hostile = {b"trusted.overlay.opaque": b"y"}
    tree = layer.build([entry(b"%d" % number, xattrs=hostile) for number in range(50)])
    assert len(tree.warnings) == 21
    assert tree.warnings[-1] == "and 30 more warnings"


def test_a_small_tar_cannot_ask_for_endless_directories_or_link_walks() -> None:
    with pytest.raises(InvalidLayer, match="no entry of their own"):
        layer.build(entry(b"%d/" % number + b"d/" * 250 + b"f") for number in range(1000))
    target = b"a/../" * 800 + b"a"
    links = [entry(b"a", DIRECTORY), entry(b"l", SYMLINK, target)]
    # The replaced name makes the builder forget which directory `l` was, so that every walk is a new one.
    walks = [one for _ in range(1000) for one in (entry(b"churn"), entry(b"l/x"))]
    with pytest.raises(InvalidLayer, match="too many symbolic links"):
        layer.build(links + walks)
