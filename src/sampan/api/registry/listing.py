"""Lists: tags, the catalogue, referrers (end-8, end-12, and Docker's `_catalog`), a page at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import hdrs, web

from sampan.api.registry.context import Context
from sampan.api.registry.errors import BadParameter
from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.registry.model import Referrer

MOST_NAMES = 100_000  # of one answer; user interfaces ask for so many
CATALOGUE_PAGE = 1000  # where the client does not say
REFERRERS_PAGE = 1000


async def tags(context: Context) -> web.StreamResponse:
    """Tags of a repository."""
    context.allow("pull")
    limit, after = _page(context)
    page = context.registry.tags(context.target.name, limit=limit, after=after)
    body = {"name": context.target.name, "tags": page.names}
    follows = {"n": str(limit), "last": page.names[-1]} if page.more and page.names else None
    return _json(context, body, follows)


async def catalogue(context: Context) -> web.StreamResponse:
    """Repositories of the registry."""
    context.allow("list", "")
    limit, after = _page(context)
    limit = CATALOGUE_PAGE if limit is None else limit
    page = context.registry.catalogue(limit=limit, after=after)
    follows = {"n": str(limit), "last": page.names[-1]} if page.more and page.names else None
    return _json(context, {"repositories": page.names}, follows)


async def referrers(context: Context) -> web.StreamResponse:
    """Manifests whose subject is the one named; of one type if `artifactType` is given."""
    context.allow("pull")
    query = context.request.query
    subject = Digest.parse(context.target.reference)
    wanted = query.get("artifactType", "")
    found = context.registry.referrers(
        context.target.name, subject, artifact_type=wanted, limit=REFERRERS_PAGE + 1, after=query.get("last", "")
    )
    descriptors = _fitting([_descriptor(each) for each in found[:REFERRERS_PAGE]])
    follows = {"last": descriptors[-1]["digest"]} if len(descriptors) < len(found) else None
    if follows is not None and wanted:
        follows["artifactType"] = wanted
    body = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": descriptors}
    response = _json(context, body, follows, content_type=oci.OCI_INDEX)
    if wanted:
        response.headers["OCI-Filters-Applied"] = "artifactType"
    return response


def _descriptor(referrer: Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size_bytes,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        descriptor["annotations"] = dict(referrer.annotations)
    return descriptor


def _fitting(descriptors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as an index of the largest allowed size holds, at least one."""
    size = 0
    for count, descriptor in enumerate(descriptors):
        size += len(json.dumps(descriptor)) + 1
        if size > oci.LARGEST_MANIFEST_BYTES - 200 and count:
            return descriptors[:count]
    return descriptors


def _page(context: Context) -> tuple[int | None, str]:
    query = context.request.query
    after = query.get("last", "")
    text = query.get("n")
    if text is None:
        return None, after
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= MOST_NAMES):
        raise BadParameter(f"invalid n {text[:40]!r}", remedy=f"give a number from 0 to {MOST_NAMES}")
    return int(text), after


def _json(
    context: Context, body: object, follows: Mapping[str, str] | None, *, content_type: str = "application/json"
) -> web.Response:
    response = web.Response(body=json.dumps(body).encode(), headers={hdrs.CONTENT_TYPE: content_type})
    if follows is not None:
        response.headers[hdrs.LINK] = f'<{quote(context.request.path)}?{urlencode(follows)}>; rel="next"'
    return response
