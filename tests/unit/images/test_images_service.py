"""The verbs of the images room against a registry that misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from sampan import errors
from sampan.formats import compression, oci
from sampan.formats.digest import Digest
from sampan.host import http
from sampan.images import challenge, client, documents, layers, model, parallel, platforms
from sampan.images.catalogue import Filters

T = TypeVar("T")
LAYERS = (b"lower layer " * 5000, b"upper layer " * 300_000)


def run(host: Any, work: Coroutine[Any, Any, T]) -> T:
    """Run and close the images room; no thread outlives a test."""

    async def whole() -> T:
        try:
            return await work
        finally:
            await host.images.close()

    return asyncio.run(whole())


async def pull(host: Any, name: str, **options: Any) -> list[model.Progress]:
    return [progress async for progress in host.images.pull(name, **options)]


async def push(host: Any, name: str, **options: Any) -> list[model.Progress]:
    return [progress async for progress in host.images.push(name, **options)]


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_a_pull_brings_manifest_configuration_blobs_and_tars(host: Any, registry: Any) -> None:
    digest = registry.add_image(*LAYERS, tag="v1")
    lines = run(host, pull(host, f"{registry.host}/team/app:v1"))
    image = host.images.get(f"{registry.host}/team/app:v1")
    assert image.manifest_digest == digest
    assert image.config.cmd == ("/boat",)
    assert image.layers == tuple(Digest.of(each) for each in LAYERS)
    assert image.size_bytes == sum(map(len, LAYERS))
    assert host.files() == {*registry.blobs, digest, *image.layers}
    assert image.digests == (f"{registry.host}/team/app@{digest}",)
    statuses = [line.status for line in lines]
    assert statuses[0] == "Pulling from team/app"
    assert statuses.count("Pull complete") == 2
    assert statuses[-2:] == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {registry.host}/team/app:v1",
    ]
    assert [event.action for event in host.bus.past(0)] == ["pull"]


def test_a_second_pull_moves_nothing(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)

    async def twice() -> list[model.Progress]:
        await pull(host, f"{registry.host}/app")
        registry.requests.clear()
        return await pull(host, f"{registry.host}/app")

    lines = run(host, twice())
    assert lines[-1].status == f"Status: Image is up to date for {registry.host}/app:latest"
    assert [line.status for line in lines].count("Already exists") == 2
    assert not [path for path in registry.paths("GET") if "/blobs/" in path]


def test_images_that_share_a_layer_fetch_it_once(host: Any, registry: Any) -> None:
    registry.add_image(LAYERS[0], tag="small")
    registry.add_image(*LAYERS, tag="large")

    async def both() -> None:
        await asyncio.gather(pull(host, f"{registry.host}/app:small"), pull(host, f"{registry.host}/app:large"))

    run(host, both())
    blobs = [path for path in registry.paths("GET") if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 4  # two layers, two configurations


def test_pulls_of_one_image_at_the_same_time_share_one_transfer(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.held.clear()

    async def many() -> list[list[model.Progress]]:
        tasks = [asyncio.create_task(pull(host, f"{registry.host}/app")) for _ in range(5)]
        while not any("/manifests/" in path for path in registry.paths("GET")):
            await asyncio.sleep(0.01)
        registry.held.set()
        return await asyncio.gather(*tasks)

    results = run(host, many())
    assert len([path for path in registry.paths("GET") if "/manifests/" in path]) == 1
    assert {lines[-1].status for lines in results} == {f"Status: Downloaded newer image for {registry.host}/app:latest"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed_where_it_broke(host: Any, registry: Any, ranges: bool) -> None:
    content = bytes(range(256)) * 4000
    digest = registry.add_image(content, compressed=False)
    registry.ranges = ranges
    registry.break_after_bytes = [10_000, 0, 50_000]
    run(host, pull(host, f"{registry.host}/app"))
    assert host.images.get(f"{registry.host}/app").manifest_digest == digest
    asked = [headers.get("range") for verb, path, headers in registry.requests if "/blobs/" in path and verb == "GET"]
    assert any(asked)


def test_a_download_that_never_gets_on_is_given_up(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.break_after_bytes = [0] * 100
    with pytest.raises(http.Unreachable):
        run(host, pull(host, f"{registry.host}/app"))
    assert host.files() == set()


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda content: content[:-20] + bytes(20), errors.Invalid),
        (lambda content: b"other" + content, client.WrongContent),
        (lambda content: b"x" * len(content), errors.Invalid),
        (lambda content: content[:-1], http.Unreachable),
    ],
)
def test_a_layer_with_other_content_is_refused_and_nothing_stays(
    host: Any, registry: Any, spoil: Any, error: type[Exception]
) -> None:
    registry.add_image(*LAYERS)
    upper = max(registry.blobs, key=lambda digest: len(registry.blobs[digest]))
    registry.instead[upper] = spoil(registry.blobs[upper])
    with pytest.raises(error):
        run(host, pull(host, f"{registry.host}/app"))
    assert (host.files(), host.driver.prepared, host.images.list()) == (set(), {}, ())


def test_a_layer_that_is_not_the_configuration_s_is_refused_and_nothing_stays(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS, rootfs={"type": "layers", "diff_ids": ["sha256:" + "1" * 64, "sha256:" + "2" * 64]})
    with pytest.raises(layers.WrongLayer):
        run(host, pull(host, f"{registry.host}/app"))
    assert (host.files(), host.driver.prepared) == (set(), {})


def test_a_layer_the_driver_refuses_leaves_nothing(host: Any, registry: Any) -> None:
    registry.add_image(LAYERS[0], b"bad tar")
    with pytest.raises(compression.DamagedStream):
        run(host, pull(host, f"{registry.host}/app"))
    assert (host.files(), host.driver.prepared) == (set(), {})


def test_a_failed_pull_leaves_the_layers_of_other_images(host: Any, registry: Any) -> None:
    registry.add_image(LAYERS[0], tag="good")
    registry.add_image(LAYERS[0], b"bad tar", tag="bad")

    async def both() -> set[str]:
        await pull(host, f"{registry.host}/app:good")
        before = host.files()
        with pytest.raises(compression.DamagedStream):
            await pull(host, f"{registry.host}/app:bad")
        return before

    assert run(host, both()) == host.files()
    assert len(host.driver.prepared) == 1


def test_a_configuration_of_other_content_is_refused(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)
    config = min(registry.blobs, key=lambda digest: len(registry.blobs[digest]))
    registry.instead[config] = registry.blobs[config].replace(b"boat", b"ship")
    with pytest.raises(client.WrongContent):
        run(host, pull(host, f"{registry.host}/app"))


def test_a_manifest_pulled_by_digest_must_have_that_digest(host: Any, registry: Any) -> None:
    digest = registry.add_image(*LAYERS)
    content, media_type = registry.manifests[digest]
    registry.manifests[digest] = (content + b" ", media_type)
    with pytest.raises(client.WrongContent, match="manifest verification failed"):
        run(host, pull(host, f"{registry.host}/app@{digest}"))


def test_a_pull_by_digest_gives_no_tag(host: Any, registry: Any) -> None:
    digest = registry.add_image(*LAYERS)
    run(host, pull(host, f"{registry.host}/app@{digest}"))
    image = host.images.get(f"{registry.host}/app@{digest}")
    assert (image.tags, image.dangling) == ((), True)


def test_an_index_gives_the_host_s_platform_and_is_kept(host: Any, registry: Any) -> None:
    mine = registry.add_image(LAYERS[0], tag="amd64")
    other = registry.add_image(LAYERS[1], tag="arm64", architecture="arm64")
    index = oci.Index(
        schema_version=2,
        media_type=oci.OCI_INDEX,
        manifests=[
            oci.Descriptor(oci.OCI_MANIFEST, digest, 1, platform=oci.Platform(architecture=name, os="linux"))
            for name, digest in (("arm64", other), ("amd64", mine))
        ],
    )
    top = registry.add_manifest(oci.encode(index), oci.OCI_INDEX, "many")

    async def both() -> tuple[model.Image, model.Image]:
        await pull(host, f"{registry.host}/app:many")
        first = host.images.get(f"{registry.host}/app:many")
        await pull(host, f"{registry.host}/app:many", platform="linux/arm64")
        return first, host.images.get(f"{registry.host}/app:many")

    first, second = run(host, both())
    assert (first.manifest_digest, second.manifest_digest) == (mine, other)
    assert top in host.files()
    assert second.digests == (f"{registry.host}/app@{top}",)


def test_a_lone_manifest_of_another_platform_is_refused_only_if_a_platform_was_asked_for(
    host: Any, registry: Any
) -> None:
    registry.add_image(*LAYERS, architecture="arm64")

    async def both() -> None:
        with pytest.raises(platforms.NoMatchingManifest, match="actual: linux/arm64"):
            await pull(host, f"{registry.host}/app", platform="linux/amd64")
        await pull(host, f"{registry.host}/app")

    run(host, both())


def test_what_is_not_there_is_named_in_docker_s_words(host: Any, registry: Any) -> None:
    with pytest.raises(client.NotInRegistry) as caught:
        run(host, pull(host, f"{registry.host}/app:none"))
    assert caught.value.what == f"manifest for {registry.host}/app:none not found: manifest unknown: manifest unknown"


def test_a_registry_that_does_not_answer_is_named(host: Any) -> None:
    with pytest.raises(http.Unreachable, match=r"dial tcp 127\.0\.0\.1:1: connect: connection refused"):
        run(host, pull(host, "127.0.0.1:1/app"))


def test_a_token_is_fetched_with_the_login(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.token = "letmein"
    run(host, pull(host, f"{registry.host}/app", credentials=model.Credentials("me", "secret")))
    path, headers = next((path, headers) for _, path, headers in registry.requests if path.startswith("/token"))
    assert "scope=repository%3Aapp%3Apull" in path
    assert headers["authorization"].startswith("Basic ")


def test_a_login_is_not_shown_to_a_token_server_elsewhere(host: Any, registry: Any, other_registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.token = "letmein"
    registry.realm = f"https://{other_registry.host.replace('127.0.0.1', 'localhost')}/token"
    with pytest.raises(challenge.RealmRefused):
        run(host, pull(host, f"{registry.host}/app", credentials=model.Credentials("me", "secret")))
    assert other_registry.requests == []


def test_a_redirect_to_another_host_carries_no_token(host: Any, registry: Any, other_registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.token = "letmein"
    other_registry.blobs = dict(registry.blobs)
    registry.redirect_blobs_to = f"http://{other_registry.host}"
    run(host, pull(host, f"{registry.host}/app"))
    assert other_registry.requests
    assert not any("authorization" in headers for _, _, headers in other_registry.requests)


def test_a_client_that_leaves_ends_the_pull_and_nothing_stays(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.held.clear()

    async def leave() -> None:
        lines = host.images.pull(f"{registry.host}/app")
        async for _ in lines:
            break
        await lines.aclose()
        registry.held.set()

    run(host, leave())
    assert (host.files(), host.images.list()) == (set(), ())


def test_a_pulled_image_is_pushed_with_the_same_manifest(host: Any, registry: Any, other_registry: Any) -> None:
    digest = registry.add_image(*LAYERS)

    async def both() -> list[model.Progress]:
        await pull(host, f"{registry.host}/app")
        await host.images.tag(f"{registry.host}/app", f"{other_registry.host}/copy:v2")
        return await push(host, f"{other_registry.host}/copy:v2")

    lines = run(host, both())
    assert other_registry.manifests["v2"] == registry.manifests[digest]
    assert other_registry.blobs == registry.blobs
    assert lines[0].status == f"The push refers to repository [{other_registry.host}/copy]"
    assert [line.status for line in lines].count("Pushed") == 2
    assert lines[-2].status.startswith(f"v2: digest: {digest} size: ")
    assert lines[-1].aux == {"Tag": "v2", "Digest": digest, "Size": len(registry.manifests[digest][0])}


def test_a_manifest_of_other_layer_forms_does_not_displace_the_one_whose_blobs_are_here(
    host: Any, registry: Any, other_registry: Any
) -> None:
    first = registry.add_image(*LAYERS, tag="gzip")
    second = registry.add_image(*LAYERS, tag="plain", compressed=False)

    async def work() -> None:
        await pull(host, f"{registry.host}/app:gzip")
        await pull(host, f"{registry.host}/app:plain")
        await host.images.tag(f"{registry.host}/app:plain", f"{other_registry.host}/app")
        await push(host, f"{other_registry.host}/app")

    run(host, work())
    image = host.images.get(f"{registry.host}/app:plain")
    assert {first, second} <= {text.partition("@")[2] for text in image.references}
    assert other_registry.manifests["latest"] == registry.manifests[image.manifest_digest]


def test_an_index_that_names_another_type_than_its_manifest_is_refused(host: Any, registry: Any) -> None:
    digest = registry.add_image(*LAYERS)
    entry = oci.Descriptor(oci.DOCKER_MANIFEST, digest, 1, platform=oci.Platform("amd64", "linux"))
    index = oci.Index(schema_version=2, media_type=oci.OCI_INDEX, manifests=[entry])
    registry.add_manifest(oci.encode(index), oci.OCI_INDEX, "many")
    with pytest.raises(documents.RefusedImage, match="another media type"):
        run(host, pull(host, f"{registry.host}/app:many"))


def test_a_broken_upload_is_begun_again(host: Any, registry: Any) -> None:
    async def work() -> list[model.Progress]:
        await host.images.import_(chunks(*LAYERS), name=f"{registry.host}/app")
        registry.break_uploads = 2
        return await push(host, f"{registry.host}/app")

    assert [line.status for line in run(host, work())].count("Retrying") == 2
    assert "latest" in registry.manifests


def test_an_upload_that_always_breaks_is_given_up(host: Any, registry: Any) -> None:
    async def work() -> None:
        await host.images.import_(chunks(*LAYERS), name=f"{registry.host}/app")
        registry.break_uploads = 100
        await push(host, f"{registry.host}/app")

    with pytest.raises(http.Unreachable):
        run(host, work())
    assert "latest" not in registry.manifests


def test_a_digest_cannot_be_pushed(host: Any) -> None:
    with pytest.raises(errors.Invalid, match="cannot push a digest reference"):
        run(host, push(host, f"127.0.0.1:1/app@{Digest.of(b'')}"))


def test_a_login_is_checked_by_the_registry(host: Any, registry: Any) -> None:
    async def work() -> None:
        await host.images.login(registry.host, model.Credentials("me", "secret"))

    registry.token = "letmein"
    run(host, work())
    assert [path for path in registry.paths("GET") if path.startswith("/token")]


def test_a_second_push_finds_every_layer(host: Any, registry: Any) -> None:
    async def twice() -> list[model.Progress]:
        await host.images.import_(chunks(*LAYERS), name=f"{registry.host}/app")
        await push(host, f"{registry.host}/app")
        registry.requests.clear()
        return await push(host, f"{registry.host}/app")

    lines = run(host, twice())
    assert [line.status for line in lines].count("Layer already exists") == 1
    assert registry.paths("POST") == []


def test_an_imported_layer_is_compressed_for_another_registry(host: Any, registry: Any) -> None:
    async def both() -> model.Image:
        image = await host.images.import_(chunks(*LAYERS), name=f"{registry.host}/app")
        await push(host, f"{registry.host}/app")
        return image

    image = run(host, both())
    content, media_type = registry.manifests["latest"]
    manifest = documents.read(content, media_type)
    assert isinstance(manifest, oci.Manifest)
    assert [layer.media_type for layer in manifest.layers] == [oci.OCI_LAYER_GZIP]
    assert compression.inflate(registry.blobs[manifest.layers[0].digest]) == b"".join(LAYERS)
    assert manifest.config.digest == image.id
    assert host.files() == {image.id, image.manifest_digest, *image.layers}


def test_a_push_asks_for_a_mount_from_where_the_image_came(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)

    async def both() -> list[model.Progress]:
        await pull(host, f"{registry.host}/first")
        await host.images.tag(f"{registry.host}/first", f"{registry.host}/second")
        registry.requests.clear()
        stored, registry.blobs = registry.blobs, {}
        task = asyncio.create_task(push(host, f"{registry.host}/second"))
        while len([path for path in registry.paths("HEAD") if "/blobs/" in path]) < 2:
            await asyncio.sleep(0.005)
        registry.blobs = stored
        return await task

    run(host, both())
    assert all("from=first" in path for path in registry.paths("POST"))


def test_what_has_no_tag_here_cannot_be_pushed(host: Any, registry: Any) -> None:
    with pytest.raises(model.NoSuchImage, match="An image does not exist locally with the tag: "):
        run(host, push(host, f"{registry.host}/app"))


def test_all_tags_of_a_repository_are_pushed(host: Any, registry: Any) -> None:
    async def work() -> None:
        await host.images.import_(chunks(b"one"), name=f"{registry.host}/app:1")
        await host.images.import_(chunks(b"two"), name=f"{registry.host}/app:2")
        await push(host, f"{registry.host}/app", all_tags=True)

    run(host, work())
    assert {"1", "2"} <= set(registry.manifests)


def test_an_import_takes_changes_and_compressed_tars(host: Any) -> None:
    async def work() -> model.Image:
        pieces = list(compression.gzip_pieces([b"a tar"]))
        return await host.images.import_(
            chunks(*pieces), name="app:v1", changes=['CMD ["/sh"]', "ENV A=1"], message="made", created_ns=0
        )

    image = run(host, work())
    assert image.layers == (Digest.of(b"a tar"),)
    assert (image.config.cmd, image.config.env) == (("/sh",), ("A=1",))
    assert image.created == "1970-01-01T00:00:00.000000000Z"
    assert host.images.history(image)[0].comment == "made"
    assert image.tags == ("app:v1",)


def test_the_same_import_is_the_same_image(host: Any) -> None:
    async def work() -> set[str]:
        made = [await host.images.import_(chunks(b"a tar"), name=name, created_ns=1) for name in ("one", "two")]
        return {image.id for image in made}

    assert len(run(host, work())) == 1
    assert host.images.get("one").tags == ("one:latest", "two:latest")


def test_an_import_with_a_bad_change_reads_nothing(host: Any) -> None:
    read: list[bytes] = []

    async def source() -> AsyncIterator[bytes]:
        read.append(b"")
        yield b"a tar"

    with pytest.raises(errors.Invalid, match="not a valid change command"):
        run(host, host.images.import_(source(), changes=["RUN true"]))
    assert (read, host.files()) == ([], set())


def test_an_import_that_is_cut_short_leaves_nothing(host: Any) -> None:
    whole = b"".join(compression.gzip_pieces([b"a tar" * 1000]))
    with pytest.raises(compression.DamagedStream):
        run(host, host.images.import_(chunks(whole[:-30]), name="app"))
    assert host.files() == set()


def test_a_commit_stands_on_its_base(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)

    async def work() -> model.Image:
        await pull(host, f"{registry.host}/app")
        base = host.images.get(f"{registry.host}/app")
        return await host.images.commit(base.id, chunks(b"top"), name="app:top", changes=["USER me"], comment="mine")

    image = run(host, work())
    assert image.layers == (*(Digest.of(each) for each in LAYERS), Digest.of(b"top"))
    assert (image.config.cmd, image.config.user) == (("/boat",), "me")
    assert image.parent_id == host.images.get(f"{registry.host}/app").id
    assert host.images.get(f"{registry.host}/app").parent_id == ""


def test_a_committed_image_outlives_its_base(host: Any, registry: Any, other_registry: Any) -> None:
    registry.add_image(*LAYERS)

    async def work() -> None:
        await pull(host, f"{registry.host}/app")
        base = host.images.get(f"{registry.host}/app")
        await host.images.commit(base.id, chunks(b"top"), name=f"{other_registry.host}/top")
        await host.images.remove(f"{registry.host}/app")
        assert host.images.get(f"{other_registry.host}/top").parent_id == ""
        await push(host, f"{other_registry.host}/top")

    run(host, work())
    manifest = documents.read(*other_registry.manifests["latest"])
    assert isinstance(manifest, oci.Manifest)
    assert len(manifest.layers) == 3
    assert {layer.digest for layer in manifest.layers} <= set(other_registry.blobs)


def test_removing_the_last_name_removes_everything_at_once(host: Any, registry: Any) -> None:
    digest = registry.add_image(*LAYERS)

    async def work() -> list[model.Removal]:
        await pull(host, f"{registry.host}/app")
        return await host.images.remove(f"{registry.host}/app")

    done = run(host, work())
    name = f"{registry.host}/app"
    assert [item.target for item in done if item.action == "Untagged"] == [f"{name}:latest", f"{name}@{digest}"]
    assert len([item for item in done if item.action == "Deleted"]) == 3
    assert (host.files(), host.driver.prepared, host.images.list()) == (set(), {}, ())


def test_removing_one_of_two_names_removes_only_the_name(host: Any) -> None:
    async def work() -> list[model.Removal]:
        await host.images.import_(chunks(b"tar"), name="one")
        await host.images.tag("one", "two")
        return await host.images.remove("one")

    assert run(host, work()) == [model.Removal("Untagged", "one:latest")]
    assert host.images.get("two").tags == ("two:latest",)


def test_a_layer_another_image_uses_stays(host: Any, registry: Any) -> None:
    registry.add_image(LAYERS[0], tag="small")
    registry.add_image(*LAYERS, tag="large")

    async def work() -> None:
        await pull(host, f"{registry.host}/app:small")
        await pull(host, f"{registry.host}/app:large")
        await host.images.remove(f"{registry.host}/app:large")

    run(host, work())
    assert set(host.driver.prepared) == {Digest.of(LAYERS[0]).hex}
    assert Digest.of(LAYERS[0]) in host.files()
    assert Digest.of(LAYERS[1]) not in host.files()


def test_an_image_in_use_is_refused_and_by_force_only_loses_its_name(host: Any) -> None:
    async def work() -> list[model.Removal]:
        image = await host.images.import_(chunks(b"tar"), name="app")
        host.users[image.id] = [model.User("c" * 64, running=False)]
        with pytest.raises(
            model.ImageInUse, match=r'repository reference "app" \(must force\) - container cccccccccccc'
        ):
            await host.images.remove("app")
        return await host.images.remove("app", force=True)

    assert [item.action for item in run(host, work())] == ["Untagged"]
    assert len(host.images.list(Filters(dangling=True))) == 1


def test_an_image_reserved_for_a_new_container_is_not_removed(host: Any) -> None:
    async def work() -> None:
        image = await host.images.import_(chunks(b"tar"), name="app")
        with host.images.reserve(image.id), pytest.raises(model.ImageInUse):
            await host.images.remove("app")
        await host.images.remove("app")

    run(host, work())


def test_prune_removes_dangling_images_that_nobody_uses(host: Any) -> None:
    async def work() -> tuple[list[model.Removal], int]:
        await host.images.import_(chunks(b"kept"), name="app")
        await host.images.import_(chunks(b"dangling"))
        used = await host.images.import_(chunks(b"used"))
        host.users[used.id] = [model.User("c" * 64, running=True)]
        return await host.images.prune()

    done, freed_bytes = run(host, work())
    assert [item.action for item in done] == ["Deleted", "Deleted"]
    assert freed_bytes > len(b"dangling")
    assert len(host.images.list()) == 2


def test_a_name_that_moves_leaves_a_dangling_image(host: Any) -> None:
    async def work() -> tuple[model.Image, model.Image]:
        return (
            await host.images.import_(chunks(b"old"), name="app"),
            await host.images.import_(chunks(b"new"), name="app"),
        )

    old, new = run(host, work())
    assert host.images.get("app").id == new.id
    assert [image.id for image in host.images.list(Filters(dangling=True))] == [old.id]


def test_an_image_is_found_by_name_and_by_parts_of_its_id(host: Any) -> None:
    image = run(host, host.images.import_(chunks(b"tar"), name="app:v1"))
    for name in ("app:v1", "docker.io/library/app:v1", image.id, image.id.hex, image.id.short, image.id[:12]):
        assert host.images.get(name).id == image.id
    for name in ("app", "other", "0" * 64, "sha256:", "UPPER", ""):
        with pytest.raises(model.NoSuchImage, match="No such image: "):
            host.images.get(name)


def test_a_short_id_of_several_images_is_refused(host: Any) -> None:
    async def work() -> None:
        for number in range(20):  # of 20 ids two begin with the same of 16 digits
            await host.images.import_(chunks(b"%d" % number))

    run(host, work())
    first = [image.id.hex[0] for image in host.images.list()]
    common = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(model.AmbiguousId, match="multiple IDs found with provided prefix"):
        host.images.get(common)


def test_images_are_listed_by_filters(host: Any) -> None:
    async def work() -> None:
        await host.images.import_(chunks(b"1"), name="web:v1", changes=["LABEL tier=front"])
        await host.images.import_(chunks(b"2"), name="web:v2")
        await host.images.tag("web:v2", "inn:v2")
        await host.images.import_(chunks(b"3"), name="db:v1", changes=["LABEL tier=back"])

    run(host, work())

    def names(**filters: Any) -> list[str]:
        return [tag for image in host.images.list(Filters(**filters)) for tag in image.tags]

    assert names() == ["db:v1", "inn:v2", "web:v2", "web:v1"]
    assert names(references=["web"]) == ["web:v2", "web:v1"]
    assert names(references=["web:v2"]) == ["web:v2"]  # without the image's other name
    assert names(references=["web:v2", "inn"]) == ["inn:v2", "web:v2"]
    assert names(references=["*:v1"]) == ["db:v1", "web:v1"]
    assert names(labels=["tier"]) == ["db:v1", "web:v1"]
    assert names(labels=["tier=back"]) == ["db:v1"]
    assert names(before="web:v2") == ["web:v1"]
    assert names(since="web:v2") == ["db:v1"]
    assert names(dangling=True) == []


def test_lowers_are_topmost_first_and_remade_if_the_driver_lost_them(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)

    async def work() -> tuple[Any, ...]:
        await pull(host, f"{registry.host}/app")
        host.driver.prepared.clear()
        return await host.images.lowers(host.images.get(f"{registry.host}/app").id)

    assert [path.name for path in run(host, work())] == [Digest.of(each).hex[:4] for each in reversed(LAYERS)]
    assert len(host.driver.prepared) == 2


def test_disk_usage_counts_a_shared_layer_once(host: Any, registry: Any) -> None:
    registry.add_image(LAYERS[0], tag="small")
    registry.add_image(*LAYERS, tag="large")

    async def work() -> None:
        await pull(host, f"{registry.host}/app:small")
        await pull(host, f"{registry.host}/app:large")

    run(host, work())
    usage = host.images.disk_usage()
    large = host.images.get(f"{registry.host}/app:large").id
    assert usage.layers_bytes == sum(map(len, LAYERS))
    assert (usage.unique_bytes[large], usage.shared_bytes[large]) == (len(LAYERS[1]), len(LAYERS[0]))


def test_restore_drops_what_a_crash_left(host: Any) -> None:
    run(host, host.images.import_(chunks(b"tar"), name="app"))
    host.driver.prepared["f" * 64] = 1
    host.images.restore()
    assert set(host.driver.prepared) == {Digest.of(b"tar").hex}


def test_a_shutdown_ends_a_pull(host: Any, registry: Any) -> None:
    registry.add_image(*LAYERS)
    registry.held.clear()

    async def work() -> None:
        task = asyncio.create_task(pull(host, f"{registry.host}/app"))
        while not any("/manifests/" in path for path in registry.paths("GET")):
            await asyncio.sleep(0.005)
        threading.Timer(0.05, registry.held.set).start()
        await host.images.close()
        with pytest.raises(parallel.Abandoned):
            await task

    asyncio.run(work())
    assert host.files() == set()


def test_an_image_without_layers_is_an_image(host: Any, registry: Any) -> None:
    registry.add_image(tag="empty")
    run(host, pull(host, f"{registry.host}/app:empty"))
    assert host.images.get(f"{registry.host}/app:empty").layers == ()


def test_a_layer_listed_twice_is_fetched_and_mounted_once(host: Any, registry: Any) -> None:
    registry.add_image(LAYERS[0], LAYERS[1], LAYERS[0])

    async def work() -> tuple[Any, ...]:
        await pull(host, f"{registry.host}/app")
        return await host.images.lowers(host.images.get(f"{registry.host}/app").id)

    assert len(run(host, work())) == 2
    assert len(host.images.get(f"{registry.host}/app").layers) == 3


def test_docker_manifests_keep_their_form(host: Any, registry: Any, other_registry: Any) -> None:
    registry.add_image(*LAYERS, tag="oci")
    manifest = documents.read(*registry.manifests["oci"])
    assert isinstance(manifest, oci.Manifest)
    layers_ = [replace_type(layer, oci.DOCKER_LAYER_GZIP) for layer in manifest.layers]
    document = {
        "schemaVersion": 2,
        "mediaType": oci.DOCKER_MANIFEST,
        "config": json.loads(oci.encode(replace_type(manifest.config, oci.DOCKER_CONFIG))),
        "layers": [json.loads(oci.encode(layer)) for layer in layers_],
    }
    content = json.dumps(document, indent=3).encode()
    registry.add_manifest(content, oci.DOCKER_MANIFEST, "docker")

    async def both() -> None:
        await pull(host, f"{registry.host}/app:docker")
        await host.images.tag(f"{registry.host}/app:docker", f"{other_registry.host}/app:docker")
        await push(host, f"{other_registry.host}/app:docker")

    run(host, both())
    assert other_registry.manifests["docker"] == (content, oci.DOCKER_MANIFEST)


def replace_type(descriptor: oci.Descriptor, media_type: str) -> oci.Descriptor:
    return oci.Descriptor(media_type, descriptor.digest, descriptor.size)


def test_a_progress_is_a_value() -> None:
    assert replace(model.Progress("Downloading", "abc"), current_bytes=1).current_bytes == 1


def test_a_name_in_a_registry_is_described_without_a_pull(host: Any, registry: Any) -> None:
    digest = registry.add_image(b"x" * 1024, architecture="arm64", variant="v8")
    entry = oci.Descriptor(oci.OCI_MANIFEST, digest, 9, platform=oci.Platform("riscv64", "linux"))
    index = oci.encode(oci.Index(schema_version=2, manifests=[entry], media_type=oci.OCI_INDEX))
    registry.add_manifest(index, oci.OCI_INDEX, "many")

    async def ask() -> None:
        found = await host.images.distribution(f"{registry.host}/team/app")
        assert (found.descriptor.digest, found.descriptor.media_type) == (digest, oci.OCI_MANIFEST)
        assert found.descriptor.size == len(registry.manifests[digest][0])
        assert found.platforms == (oci.Platform("arm64", "linux", "v8"),)
        many = await host.images.distribution(f"{registry.host}/team/app:many")
        assert (many.descriptor.size, many.platforms) == (len(index), (oci.Platform("riscv64", "linux"),))
        with pytest.raises(errors.NotFound):
            await host.images.distribution(f"{registry.host}/team/app:none")

    run(host, ask())
    assert host.images.list() == ()
    assert host.files() == set()
