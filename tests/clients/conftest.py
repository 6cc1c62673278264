"""Engines for whole files of tests: ours, and dockerd where it is unpacked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import harbour
import peers
from stock import ENGINES, IMAGE, Cli


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One engine with an image, for a whole file."""
    folder = tmp_path_factory.mktemp("engine")
    with peers.running([request.param], folder=folder) as running:
        cli = Cli(running[request.param])
        cli("import", "-c", "CMD sleep 1000", "-", IMAGE, input=harbour.busybox_tar("one"))
        yield cli


@pytest.fixture
def docker(engine: Cli) -> Iterator[Cli]:
    """The same for one test, which leaves no container behind."""
    yield engine
    left = engine.out("ps", "-aq").split()
    if left:
        engine("rm", "-f", "-v", *left)
