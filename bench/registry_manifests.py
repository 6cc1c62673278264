"""Manifest GET and HEAD, requests a second: ours against docker-registry. About 40 seconds.

Run: python bench/registry_manifests.py [--peer PROGRAM]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import harness
import registry_servers as servers

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONNECTIONS = 16
SECONDS = 2.0


def document() -> tuple[bytes, list[bytes]]:
    """A manifest of eight layers, about two kilobytes, and its blobs."""
    blobs = [b"{}", *(b"layer %d" % number for number in range(8))]

    def descriptor(content: bytes, kind: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"mediaType": f"application/vnd.docker.{kind}", "size": len(content), "digest": digest}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": descriptor(blobs[0], "container.image.v1+json"),
        "layers": [descriptor(blob, "image.rootfs.diff.tar.gzip") for blob in blobs[1:]],
    }
    return json.dumps(manifest, indent=3).encode(), blobs


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default="", help="the docker-registry program")
    program = servers.peer_program(parser.parse_args().peer)
    manifest, blobs = document()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-registry-")))
        ports = {"ours": stack.enter_context(servers.running(*servers.ours(folder / "ours")))}
        if program:
            ports["peer"] = stack.enter_context(servers.running(*servers.peer(folder / "peer", program)))
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {1})
        for port in ports.values():
            for blob in blobs:
                servers.push_blob(port, "bench/app", blob, f"sha256:{hashlib.sha256(blob).hexdigest()}")
            status, _, body = servers.ask(
                port, "PUT", "/v2/bench/app/manifests/latest", manifest, Content_Type=MEDIA_TYPE
            )
            assert status == 201, body
        rows = []
        for what, method, reference in (
            ("GET by tag", "GET", "latest"),
            ("GET by digest", "GET", digest),
            ("HEAD by tag", "HEAD", "latest"),
        ):
            path = f"/v2/bench/app/manifests/{reference}"
            request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {MEDIA_TYPE}\r\n\r\n".encode()
            size = 0 if method == "HEAD" else len(manifest)
            hammers = {
                name: servers.Hammer(port, request, connections=CONNECTIONS, body_bytes=size)
                for name, port in ports.items()
            }
            measures = {name: (lambda hammer=hammer: hammer.run(SECONDS)) for name, hammer in hammers.items()}
            rows.append(harness.in_turn(what, "requests/s", measures))
            for hammer in hammers.values():
                hammer.close()
    notes = {
        "manifest": f"{len(manifest)} bytes",
        "connections": str(CONNECTIONS),
        "peer": Path(program).name if program else "not installed",
    }
    print(harness.report("registry_manifests", rows, ours="ours", peer="peer", notes=notes))


if __name__ == "__main__":
    main()
