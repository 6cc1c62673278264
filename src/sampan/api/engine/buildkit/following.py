"""Which parts of the main context a Dockerfile names: a client need not send the others. Pure.

The client resolves links and `*` and `?` in these paths. Whatever is not certain here means everything.
Source: moby/buildkit, frontend/dockerfile/dockerfile2llb/convert.go; tonistiigi/fsutil, followlinks.go.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from sampan import errors
from sampan.build import downloads
from sampan.build.stages import Plan, plan
from sampan.formats import dockerfile, dockerfile_words
from sampan.formats.dockerfile_instructions import Copy, Run

MOST_BYTES = 16 << 10  # they travel as headers, next to the patterns of .dockerignore
_UNCERTAIN = re.compile(r"[$\\'\"`\[\]!]|\*\*|[^ -~]")  # variables, quotes, classes, what is not plain ASCII


def paths(content: bytes, target: str, build_args: Mapping[str, str], platform_args: Mapping[str, str]) -> list[str]:
    """Paths below the context, sorted; none means everything."""
    try:
        planned = plan(dockerfile.parse(content), target=target, build_args=build_args, platform_args=platform_args)
    except (errors.SampanError, dockerfile_words.WordInvalid):
        return []  # the build itself says what is wrong
    found = set()
    for source in _sources(planned):
        path = posixpath.normpath("/" + source).lstrip("/")
        if not path or _UNCERTAIN.search(source):
            return []
        found.add(path)
    return sorted(found) if sum(map(len, found)) <= MOST_BYTES else []


def _sources(planned: Plan) -> Iterator[str]:
    for index in planned.needed():
        for line in planned.stages[index].lines:
            match line.meaning:
                case Copy(source_stage="") as copy:
                    yield from (name for name in copy.sources if not (copy.adds and downloads.is_url(name)))
                case Run() as run:
                    yield from (mount.source for mount in run.mounts if mount.kind == "bind" and not mount.origin)
