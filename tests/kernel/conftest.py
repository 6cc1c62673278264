"""A client at the module's own host, which it leaves without containers."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from harbour import Harbour


@pytest.fixture
def client(host: Harbour) -> Iterator[docker.DockerClient]:
    made = host.client()
    yield made
    for box in made.containers.list(all=True):
        box.remove(force=True, v=True)
    made.close()
