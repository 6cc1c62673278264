"""The Docker Engine API's own description of its answers, and whether an answer fits it.

`data/engine-1.47-paths.json` is taken from moby's api/swagger.yaml of version 1.47: every path, with the schemas of
its good answers and of the body it takes, and the definitions they refer to, without prose and examples.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("data") / "engine-1.47-paths.json"
JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}
# Where dockerd itself does not keep to the description: a pointer that is null, a number that is absent.
ALLOWED = re.compile(
    r"\.HostConfig\.(MemorySwappiness|OomKillDisable|PidsLimit|Init) is null$"
    r"|^\$\.ExitCode is null$"  # an exec that has not ended
    r"|\.Containers\[\d+\]\.SizeR(w|ootFs) is null$"
)


@functools.cache
def document() -> Mapping[str, Any]:
    """`{"definitions": {name: schema}, "paths": {"GET /info": {"responses": {"200": schema}, "request": schema}}}`."""
    return json.loads(DATA.read_text())  # type: ignore[no-any-return]


def operations() -> list[tuple[str, str]]:
    """Method and path of everything that is described."""
    return [tuple(name.split(" ", 1)) for name in document()["paths"]]  # type: ignore[misc]


def operation_of(method: str, path: str) -> str:
    """`GET /containers/{id}/json` for `GET`, `/containers/web/json`. Raises: KeyError."""
    exact = f"{method} {path}"
    if exact in document()["paths"]:
        return exact
    for name in document()["paths"]:
        verb, template = name.split(" ", 1)
        many = template.startswith(("/images/", "/distribution/", "/plugins/"))
        pattern = re.sub(r"\\\{\w+\\\}", ".+" if many else "[^/]+", re.escape(template))
        if verb == method and re.fullmatch(pattern, path):
            return name
    raise KeyError(exact)


def answer_misfits(method: str, path: str, status: int, value: Any) -> list[str]:
    """What is wrong with a good answer in JSON. Raises: KeyError for a status the description does not have."""
    schema = document()["paths"][operation_of(method, path)]["responses"][str(status)]
    found = [] if schema is None else misfits(value, schema, document()["definitions"])
    return [text for text in found if not ALLOWED.search(text)]


def misfits(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], where: str = "$") -> list[str]:
    """Where a value is not what its definition says. Null stands for an absent object, list or text, as in Go."""
    if "$ref" in schema:
        return misfits(value, definitions[schema["$ref"].rpartition("/")[2]], definitions, where)
    if "allOf" in schema:
        return [text for part in schema["allOf"] for text in misfits(value, part, definitions, where)]
    kind = schema.get("type", "object" if "properties" in schema else "")
    if not kind:
        return []
    if value is None:
        return [] if schema.get("x-nullable") or kind in ("object", "array") else [f"{where} is null"]
    if not isinstance(value, JSON_TYPES[kind]) or (kind in ("integer", "number") and isinstance(value, bool)):
        return [f"{where} is {value!r}, no {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where} is {value!r}, none of {schema['enum']}"]
    if kind == "array":
        items = schema.get("items", {})
        return [text for n, item in enumerate(value) for text in misfits(item, items, definitions, f"{where}[{n}]")]
    if kind != "object":
        return []
    return _object_misfits(value, schema, definitions, where)


def _object_misfits(
    value: Mapping[str, Any], schema: Mapping[str, Any], definitions: Mapping[str, Any], where: str
) -> list[str]:
    found = [f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value]
    known = schema.get("properties", {})
    more = schema.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            found += misfits(item, known[name], definitions, f"{where}.{name}")
        elif isinstance(more, dict) and more:
            found += misfits(item, more, definitions, f"{where}.{name}")
    return found
