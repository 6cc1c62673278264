"""`save` and `load`: what docker, podman and skopeo write is read; what is written is the same every time; a hostile
archive leaves nothing behind."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import json
import lzma
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from sampan import errors
from sampan.formats import compression, oci, tar, tar_write
from sampan.formats.digest import Digest
from sampan.formats.tar import EntryKind, TarEntry
from sampan.images import documents, layers, model
from sampan.images.archives import contents, loading
from sampan.images.archives.contents import BadArchive

T = TypeVar("T")
LAYERS = (b"lower layer " * 6000, b"upper layer " * 9000)
Member = tuple[str, bytes]


def run(host: Any, work: Coroutine[Any, Any, T]) -> T:
    async def whole() -> T:
        try:
            return await work
        finally:
            await host.images.close()

    return asyncio.run(whole())


def configuration(layers: Sequence[bytes], **changes: Any) -> bytes:
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["/boat"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(each) for each in layers]},
        **changes,
    }
    return oci.encode(document)


def pack(members: Sequence[Member | TarEntry]) -> bytes:
    packed = bytearray()
    for member in members:
        if isinstance(member, TarEntry):
            packed += tar_write.entry_header(member)
        else:
            name, content = member
            packed += tar_write.entry_header(TarEntry(name.encode(), size_bytes=len(content)))
            packed += tar_write.padded(content)
    return bytes(packed) + tar_write.END


def docker_archive(
    layers: Sequence[bytes] = LAYERS, *, tags: Sequence[str] | None = ("app:1",), config: bytes | None = None
) -> bytes:
    content = configuration(layers) if config is None else config
    names = [f"{Digest.of(each).hex}/layer.tar" for each in layers]
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": names}]
    return pack(
        [
            *dict(zip(names, layers, strict=True)).items(),
            ("config.json", content),
            ("manifest.json", json.dumps(manifest).encode()),
        ]
    )


def oci_layout(layers: Sequence[bytes] = LAYERS, *, name: str = "docker.io/library/app:1") -> tuple[bytes, str]:
    sent = [b"".join(compression.gzip_pieces([each])) for each in layers]
    config = configuration(layers)
    manifest = oci.encode(
        oci.Manifest(
            schema_version=2,
            media_type=oci.OCI_MANIFEST,
            config=oci.descriptor(oci.OCI_CONFIG, config),
            layers=[oci.descriptor(oci.OCI_LAYER_GZIP, each) for each in sent],
        )
    )
    plain = oci.descriptor(oci.OCI_MANIFEST, manifest)
    entry = oci.Descriptor(plain.media_type, plain.digest, plain.size, annotations={"io.containerd.image.name": name})
    index = oci.encode(oci.Index(schema_version=2, manifests=[entry]))
    blobs = [(f"blobs/sha256/{Digest.of(each).hex}", each) for each in (config, manifest, *sent)]
    layout = ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    return pack([layout, *blobs, ("index.json", index)]), Digest.of(manifest)


async def chunks(content: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def load(host: Any, content: bytes, **options: Any) -> list[model.Progress]:
    return [line async for line in host.images.archives.load(chunks(content), **options)]


def said(lines: Sequence[model.Progress]) -> list[str]:
    return [line.stream for line in lines if line.stream]


async def save(host: Any, *names: str) -> bytes:
    async with host.images.archives.save(names) as saved:
        content = b"".join(part if isinstance(part, bytes) else part.path.read_bytes() for part in saved.parts)
        assert len(content) == saved.length_bytes
        return content


def members(archive: bytes) -> dict[str, bytes]:
    return {
        entry.path.decode(): archive[entry.data_offset :][: entry.size_bytes]
        for entry in tar.scan(archive)
        if entry.kind is EntryKind.FILE
    }


# --- load


def test_a_docker_archive_becomes_an_image(host: Any) -> None:
    lines = run(host, load(host, docker_archive()))
    assert said(lines) == ["Loaded image: app:1\n"]
    assert [line.id for line in lines if line.status == "Loading layer"] == [Digest.of(each).short for each in LAYERS]
    image = host.images.get("app:1")
    assert image.layers == tuple(Digest.of(each) for each in LAYERS)
    assert image.id == Digest.of(configuration(LAYERS))
    assert [event.action for event in host.bus.past(0)] == ["load"]


def test_an_image_without_a_tag_is_told_by_its_id_and_quiet_means_no_layers(host: Any) -> None:
    lines = run(host, load(host, docker_archive(tags=None), quiet=True))
    assert said(lines) == [f"Loaded image ID: {Digest.of(configuration(LAYERS))}\n"]
    assert len(lines) == 1


def test_an_oci_layout_keeps_its_manifest_and_its_compressed_layers(host: Any) -> None:
    archive, digest = oci_layout()
    assert said(run(host, load(host, archive))) == ["Loaded image: app:1\n"]
    image = host.images.get("app:1")
    assert image.manifest_digest == digest
    manifest = oci.decode(host.blobs.read(image.manifest_digest), oci.Manifest)
    assert all(host.blobs.size(Digest(layer.digest)) == layer.size for layer in manifest.layers)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, "zstd"])
def test_compressed_archives_are_read(host: Any, compress: Any) -> None:
    archive = docker_archive()
    packed = compression.zstd.compress(archive) if compress == "zstd" else compress(archive)
    assert said(run(host, load(host, packed))) == ["Loaded image: app:1\n"]


def test_layers_of_old_dockers_are_links_to_each_other(host: Any) -> None:
    config = configuration([LAYERS[0], LAYERS[0]])
    manifest = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    archive = pack(
        [
            TarEntry(b"one/layer.tar", EntryKind.SYMLINK, link=b"../two/layer.tar"),
            ("two/layer.tar", LAYERS[0]),
            ("c.json", config),
            ("manifest.json", json.dumps(manifest).encode()),
        ]
    )
    run(host, load(host, archive))
    assert host.images.get("app:1").layers == (Digest.of(LAYERS[0]),) * 2


def test_a_layer_that_is_compressed_inside_the_archive_is_inflated(host: Any) -> None:
    packed = gzip.compress(LAYERS[1], mtime=0)
    manifest = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]
    archive = pack(
        [("l.tar", packed), ("c.json", configuration([LAYERS[1]])), ("manifest.json", json.dumps(manifest).encode())]
    )
    run(host, load(host, archive))
    assert host.images.get("app:1").layers == (Digest.of(LAYERS[1]),)


def test_loading_what_is_here_changes_nothing_and_adds_the_tag(host: Any) -> None:
    async def twice() -> list[model.Progress]:
        await load(host, docker_archive())
        return await load(host, docker_archive(tags=["app:2"]))

    lines = run(host, twice())
    assert [line.status for line in lines if line.status] == []
    assert host.images.get("app:1").id == host.images.get("app:2").id


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def naming(layer: str) -> Member:
    return "manifest.json", json.dumps([{"Config": "c", "Layers": [layer]}]).encode()


TWO_WAYS = b'{"schemaVersion":2,"config":{},"manifests":[],"layers":[]}'
HOSTILE: list[tuple[str, bytes]] = [
    ("no archive", b"garbage that is no tar" * 50),
    ("nothing", b""),
    ("empty archive", tar_write.END),
    ("a root file system", pack([("etc/passwd", b"x")])),
    ("truncated", docker_archive()[:9000]),
    ("truncated in a layer", docker_archive()[: len(docker_archive()) // 3]),
    ("truncated compression", gzip.compress(docker_archive())[:-400]),
    ("manifest is no JSON", pack([("manifest.json", b"{")])),
    ("manifest of another shape", pack([("manifest.json", b'{"Config":"x"}')])),
    ("nested JSON", pack([("manifest.json", nested(900))])),
    ("nested JSON in the configuration", docker_archive(config=b'{"a":' + nested(100_000) + b"}")),
    ("layer outside", pack([("c", configuration([b"x"])), naming("../../etc/passwd")])),
    ("absolute layer", pack([("c", configuration([b"x"])), naming("/etc/passwd")])),
    (
        "layer is a link to the host",
        pack([
            TarEntry(b"l", EntryKind.SYMLINK, link=b"/etc/passwd"), ("c", configuration([b"x"])),
            naming("l"),
        ]),
    ),
    ("manifest is a link to the host", pack([TarEntry(b"manifest.json", EntryKind.SYMLINK, link=b"/etc/passwd")])),
    (
        "links in a circle",
        pack([
            TarEntry(b"a", EntryKind.SYMLINK, link=b"b"), TarEntry(b"b", EntryKind.SYMLINK, link=b"a"),
            ("manifest.json", b'[{"Config":"a","Layers":[]}]'),
        ]),
    ),
    ("another layer than the configuration says", docker_archive(config=configuration([LAYERS[0], b"other"]))),
    ("fewer diff ids than layers", docker_archive(config=configuration([LAYERS[0]]))),
    ("a configuration without rootfs", docker_archive(config=b'{"architecture":"amd64","os":"linux"}')),
    ("200 layers", docker_archive([b"%d" % number for number in range(200)])),
    ("a repository outside", docker_archive(tags=["../../x:1"])),
    ("upper case", docker_archive(tags=["App:1"])),
    ("a digest for a tag", docker_archive(tags=["app@" + Digest.of(b"")])),
    ("a layer the driver refuses", docker_archive([b"bad layer" * 20_000])),
    ("a blob with another digest", pack([
        ("index.json", oci.encode(oci.Index(2, [oci.Descriptor(oci.OCI_MANIFEST, Digest.of(b"x"), 1)]))),
        (f"blobs/sha256/{Digest.of(b'x').hex}", b"y"),
    ])),
    ("an index of indexes", pack([
        ("index.json", oci.encode(oci.Index(2, [oci.descriptor(oci.OCI_INDEX, b"{}")]))),
        (f"blobs/sha256/{Digest.of(b'{}').hex}", b"{}"),
    ])),
    ("a manifest that is an index too", pack([
        ("index.json", oci.encode(oci.Index(2, [oci.descriptor(oci.OCI_MANIFEST, TWO_WAYS)]))),
        (f"blobs/sha256/{Digest.of(TWO_WAYS).hex}", TWO_WAYS),
    ])),
]  # fmt: skip


@pytest.mark.parametrize("archive", [pytest.param(content, id=name) for name, content in HOSTILE])
def test_a_hostile_archive_is_refused_and_leaves_nothing(host: Any, archive: bytes) -> None:
    with pytest.raises(errors.Invalid):
        run(host, load(host, archive))
    assert host.images.list() == ()
    assert host.files() == set()
    assert host.driver.prepared == {}


def test_a_manifest_of_gigabytes_is_refused_by_its_header(host: Any) -> None:
    header = tar_write.entry_header(TarEntry(b"manifest.json", size_bytes=10 << 30))
    with pytest.raises(BadArchive, match="at most"):
        run(host, load(host, header + bytes(1 << 20)))
    assert host.files() == set()


def test_a_bomb_is_refused_while_it_inflates(new_host: Any) -> None:
    host = new_host(limits=compression.Limits(ratio=50, ratio_from_bytes=1 << 20))
    archive = pack([("manifest.json", b"[]"), ("bomb", bytes(8 << 20))])
    with pytest.raises(compression.TooLarge):
        run(host, load(host, gzip.compress(archive)))
    assert host.files() == set()


def test_too_many_members_are_refused(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MOST_MEMBERS", 10)
    with pytest.raises(BadArchive, match="more than 10 members"):
        run(host, load(host, pack([(f"f{number}", b"") for number in range(11)])))


def test_a_second_image_that_is_bad_takes_nothing_of_the_first_along(host: Any) -> None:
    good, bad = configuration([LAYERS[0]]), configuration([b"another"])
    manifest = [
        {"Config": "good", "RepoTags": ["app:1"], "Layers": ["l"]},
        {"Config": "bad", "RepoTags": ["app:2"], "Layers": ["m"]},
    ]
    archive = pack(
        [
            ("l", LAYERS[0]),
            ("m", LAYERS[1]),
            ("good", good),
            ("bad", bad),
            ("manifest.json", json.dumps(manifest).encode()),
        ]
    )
    with pytest.raises(layers.WrongLayer):
        run(host, load(host, archive))
    image = host.images.get("app:1")
    assert [each.id for each in host.images.list()] == [image.id]
    assert host.files() == {image.id, image.manifest_digest, *image.layers}


def test_a_client_that_goes_away_leaves_nothing(host: Any) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield docker_archive()[:100_000]
        raise ConnectionResetError("gone")

    async def attempt() -> None:
        async for _ in host.images.archives.load(broken()):
            pass

    with pytest.raises((errors.Invalid, ConnectionResetError)):
        run(host, attempt())
    assert host.files() == set()


# --- save


def test_what_is_saved_is_read_by_everybody_and_is_the_same_every_time(host: Any) -> None:
    async def both() -> tuple[bytes, bytes]:
        await load(host, docker_archive())
        return await save(host, "app:1"), await save(host, "app:1")

    first, second = run(host, both())
    assert first == second
    found = members(first)
    config, blobs = configuration(LAYERS), "blobs/sha256/"
    assert json.loads(found["manifest.json"])[0]["Layers"] == [blobs + Digest.of(each).hex for each in LAYERS]
    assert json.loads(found["manifest.json"])[0]["RepoTags"] == ["app:1"]
    assert json.loads(found["repositories"]) == {"app": {"1": Digest.of(LAYERS[1]).hex}}
    assert found[blobs + Digest.of(config).hex] == config
    index = oci.decode(found["index.json"], oci.Index)
    manifest = oci.decode(found[blobs + index.manifests[0].digest[7:]], oci.Manifest)
    assert [layer.digest for layer in manifest.layers] == [Digest.of(each) for each in LAYERS]
    assert index.manifests[0].annotations["io.containerd.image.name"] == "docker.io/library/app:1"
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_a_layout_that_was_loaded_is_saved_with_the_same_layers(host: Any, new_host: Any) -> None:
    async def there() -> bytes:
        await load(host, oci_layout()[0])
        return await save(host, "app:1")

    archive = run(host, there())
    other = new_host()

    async def back() -> bytes:
        await load(other, archive)
        return await save(other, "app:1")

    assert run(other, back()) == archive


def test_names_choose_tags_repositories_and_ids(host: Any) -> None:
    async def saved() -> dict[str, Any]:
        await load(host, docker_archive())
        await load(host, docker_archive(tags=["app:2"]))
        await load(host, docker_archive([LAYERS[0]], tags=["other:1"]))
        image_id = host.images.get("app:1").id
        return {
            "tag": await save(host, "app:1"),
            "repository": await save(host, "app"),
            "id": await save(host, image_id[7:19]),
            "several": await save(host, "other:1", "app:2", "app:1"),
        }

    tags = {
        name: [item["RepoTags"] for item in json.loads(members(archive)["manifest.json"])]
        for name, archive in run(host, saved()).items()
    }
    assert tags == {
        "tag": [["app:1"]],
        "repository": [["app:1", "app:2"]],
        "id": [None],
        "several": [["other:1"], ["app:2", "app:1"]],
    }


def test_an_unknown_image_is_said_as_it_was_asked_for(host: Any) -> None:
    with pytest.raises(model.NoSuchImage, match=r"No such image: nope\Z"):
        run(host, save(host, "nope"))
    with pytest.raises(errors.Invalid):
        asyncio.run(save(host))


@pytest.mark.parametrize(
    ("name", "clean"), [("a/../b", "b"), ("./x", "x"), ("/x//y", "x/y"), ("../../x", "x"), ("x/.", "x")]
)
def test_a_members_name_stays_inside_the_archive(name: str, clean: str) -> None:
    assert contents.normal(name) == clean


def test_a_manifest_list_in_a_layout_gives_the_hosts_platform() -> None:
    wanted = oci.Platform("amd64", "linux")
    config = configuration([b"x"])
    manifest = oci.encode(
        oci.Manifest(2, oci.descriptor(oci.OCI_CONFIG, config), [oci.descriptor(oci.OCI_LAYER, b"x")], oci.OCI_MANIFEST)
    )
    plain = oci.descriptor(oci.OCI_MANIFEST, manifest)
    child = oci.Descriptor(plain.media_type, plain.digest, plain.size, platform=wanted)
    other = oci.Descriptor(plain.media_type, Digest.of(b"none"), 4, platform=oci.Platform("arm64", "linux"))
    inner = oci.encode(oci.Index(2, [other, child], oci.OCI_INDEX))
    index = oci.encode(oci.Index(2, [oci.descriptor(oci.OCI_INDEX, inner)]))
    stored = {f"blobs/sha256/{Digest.of(each).hex}": each for each in (config, manifest, inner, b"x")}
    stored["index.json"] = index
    (found,) = contents.images(dict.fromkeys(stored), stored.__getitem__, wanted)
    assert found.manifest == manifest
    with pytest.raises(errors.SampanError):
        contents.images(dict.fromkeys(stored), stored.__getitem__, oci.Platform("s390x", "linux"))
    assert isinstance(found.config, documents.ImageConfig)
