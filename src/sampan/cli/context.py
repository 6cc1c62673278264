"""`context`: names for daemons, in Docker's own files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sampan.cli import failures, output, tables
from sampan.cli.common import each
from sampan.cli.endpoint import contexts
from sampan.cli.line import declare
from sampan.cli.template import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = {"Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "DOCKER ENDPOINT", "Error": "ERROR"}
KEYS = ("from", "host", "ca", "cert", "key", "skip-tls-verify")


@declare.command()
@declare.option("--format", "form", help="table, json, or a template")
@declare.option("--quiet", "-q", is_flag=True, help="Only show names")
def list_(*, form: str | None, quiet: bool) -> int:
    """List contexts."""
    current = contexts.current()
    if quiet:
        output.echo("".join(f"{name}\n" for name in contexts.names()), nl=False)
        return 0
    rows = [_row(contexts.read(name), current, marked=form in (None, "", "table")) for name in contexts.names()]
    output.echo(tables.listing(rows, COLUMNS, form or "", type_name="*formatter.clientContextContext"), nl=False)
    if os.environ.get("DOCKER_HOST") and current == contexts.DEFAULT:
        _warn("a context")
    return 0


def _row(members: dict[str, Any], current: str, *, marked: bool) -> dict[str, Any]:
    name = members["Name"]
    return {
        "Current": name == current,
        "Description": members["Metadata"].get("Description", ""),
        "DockerEndpoint": members["Endpoints"].get("docker", {}).get("Host", ""),
        "Error": "",
        "Name": f"{name} *" if marked and name == current else name,
    }


def _warn(what: str) -> None:
    output.echo(
        f"Warning: DOCKER_HOST environment variable overrides the active context. To use {what}, either set the global "
        "--context flag, or unset DOCKER_HOST environment variable.",
        err=True,
    )


@declare.command()
def show() -> int:
    """Print the name of the current context."""
    output.echo(contexts.current())
    return 0


@declare.command()
@declare.argument("context", offers="context")
def use(context: str) -> int:
    """Set the current context."""
    contexts.read(context)
    contexts.choose_current(context)
    output.echo(context)
    output.echo(f'Current context is now "{context}"', err=True)
    if os.environ.get("DOCKER_HOST") and context != contexts.DEFAULT:
        _warn(f'"{context}"')
    return 0


@declare.command()
@declare.option("--description", help="Description of the context")
@declare.option("--docker", kind="stringToString", help="The daemon: host=ADDRESS,ca=FILE,cert=FILE,key=FILE")
@declare.option("--from", "source", help="Make it like another context")
@declare.argument("context")
def create(context: str, *, description: str | None, docker: tuple[str, ...], source: str | None) -> int:
    """Create a context."""
    contexts.check_name(context)
    if contexts.exists(context):
        raise failures.BadUsage(f'context "{context}" already exists')
    settings = read_endpoint(docker)
    if source or "from" in settings or not settings:
        like = source or settings.get("from") or contexts.current()
        found = contexts.read(like)
        kept = found["Metadata"].get("Description", "") if "from" not in settings else ""
        endpoint = found["Endpoints"]["docker"]
        contexts.write(
            context,
            address=endpoint["Host"],
            description=kept if description is None else description,
            skip_verify=endpoint.get("SkipTLSVerify", False),
            material=contexts.keys(like),
        )
    else:
        _write(context, settings, description or "")
    output.echo(context)
    output.echo(f'Successfully created context "{context}"', err=True)
    return 0


@declare.command()
@declare.option("--description", help="Description of the context")
@declare.option("--docker", kind="stringToString", help="The daemon: host=ADDRESS,ca=FILE,cert=FILE,key=FILE")
@declare.argument("context", offers="context")
def update(context: str, *, description: str | None, docker: tuple[str, ...]) -> int:
    """Update a context."""
    if context == contexts.DEFAULT:
        raise failures.BadUsage(f'"{contexts.DEFAULT}" is a reserved context name')
    found = contexts.read(context)
    text = found["Metadata"].get("Description", "") if description is None else description
    settings = read_endpoint(docker)
    if settings:
        _write(context, settings, text)
    else:
        endpoint = found["Endpoints"]["docker"]
        contexts.write(
            context,
            address=endpoint["Host"],
            description=text,
            skip_verify=endpoint.get("SkipTLSVerify", False),
        )
    output.echo(context)
    output.echo(f'Successfully updated context "{context}"', err=True)
    return 0


def read_endpoint(texts: tuple[str, ...]) -> dict[str, str]:
    """`host=tcp://ship:2376,ca=/ca.pem` as members. Raises: BadUsage."""
    found: dict[str, str] = {}
    for text in texts:
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if not equals:
                raise failures.BadUsage(
                    f'invalid argument "{text}" for "--docker" flag: {part} must be formatted key=value'
                )
            if key not in KEYS:
                raise failures.BadUsage(f"unable to create docker endpoint config: unrecognized config key: {key}")
            found[key] = value
    return found


def _write(context: str, settings: dict[str, str], description: str) -> None:
    """Read the files of TLS, then keep all. Raises: CliError."""
    material: dict[str, bytes] = {}
    for key, name in contexts.TLS_FILES.items():
        if settings.get(key):
            try:
                material[name] = Path(settings[key]).expanduser().read_bytes()
            except OSError as error:
                raise failures.CliError(
                    f"unable to create docker endpoint config: open {settings[key]}: {(error.strerror or '').lower()}"
                ) from error
    from sampan.cli.endpoint import connect

    connect.connector(settings.get("host") or "/")  # an address that nothing could connect to is refused here
    skip = settings.get("skip-tls-verify", "false").lower() in ("1", "t", "true")
    address = settings.get("host", "")
    contexts.write(context, address=address, description=description, skip_verify=skip, material=material)


@declare.command()
@declare.option("--force", "-f", is_flag=True, help="Remove the current one too")
@declare.argument("chosen", nargs=-1, required=True, metavar="CONTEXT [CONTEXT...]", offers="context")
def remove(chosen: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more contexts."""
    current = contexts.current()

    def forget(name: str) -> None:
        if name == contexts.DEFAULT:
            raise failures.BadUsage(f'context "{name}" cannot be removed')
        if not contexts.exists(name):
            raise failures.CliError(f'context "{name}" does not exist')
        if name == current and not force:
            raise failures.CliError(f'context "{name}" is in use, set -f flag to force remove')
        if name == current:
            contexts.choose_current(contexts.DEFAULT)
        contexts.remove(name)

    return each(chosen, forget)


@declare.command()
@declare.option("--format", "-f", "form", help="json or a template")
@declare.argument("chosen", nargs=-1, metavar="[CONTEXT] [CONTEXT...]", offers="context")
def inspect(chosen: tuple[str, ...], *, form: str | None) -> int:
    """Display detailed information on one or more contexts."""
    found, missing = [], []
    for name in chosen or (contexts.current(),):
        try:
            found.append(_shown(name))
        except contexts.NoSuchContext as error:
            missing.append(str(error))
    if form in (None, ""):
        output.echo(_escaped(json.dumps(found, indent=4, ensure_ascii=False)))
    elif form == "json":
        output.echo(_escaped(json.dumps(found, separators=(",", ":"), ensure_ascii=False)))
    else:
        template = Template(str(form))
        output.echo("".join(template.render(item) + "\n" for item in found), nl=False)
    for text in missing:
        sys.stderr.write(f"{text}\n")
    return failures.GENERAL if missing else 0


def _shown(name: str) -> dict[str, Any]:
    members = contexts.read(name)
    if name == contexts.DEFAULT:
        storage = {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}
        return {**members, "Metadata": {}, "TLSMaterial": {}, "Storage": storage}
    kept = sorted(contexts.keys(name))
    places = {"MetadataPath": str(contexts.meta_folder(name)), "TLSPath": str(contexts.tls_folder(name))}
    return {**members, "TLSMaterial": {"docker": kept} if kept else {}, "Storage": places}


def _escaped(text: str) -> str:
    """As Go's encoder writes it."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@declare.command()
@declare.argument("context", offers="context")
@declare.argument("target", default="", metavar="[FILE|-]", offers="file")
def export(context: str, target: str) -> int:
    """Export a context to a tar archive FILE or a tar stream on STDOUT."""
    from sampan.cli.endpoint import archive

    content = archive.pack(contexts.read(context), contexts.keys(context))
    if target == "-":
        if sys.stdout.isatty():
            raise failures.CliError("cowardly refusing to export to a terminal, specify a file path")
        sys.stdout.buffer.write(content)
        return 0
    path = Path(target or f"{context}.dockercontext")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
            opened.write(content)
    except FileExistsError as error:
        raise failures.CliError(f"open {path}: file exists") from error
    output.echo(f'Written file "{path}"', err=True)
    return 0


@declare.command()
@declare.argument("context")
@declare.argument("source", metavar="FILE|-", offers="file")
def import_(context: str, source: str) -> int:
    """Import a context from a tar or zip file."""
    from sampan.cli.endpoint import archive

    contexts.check_name(context)
    if contexts.exists(context):
        raise failures.BadUsage(f'context "{context}" already exists')
    try:
        content = sys.stdin.buffer.read(archive.LARGEST_BYTES) if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise failures.CliError(f"open {source}: {(error.strerror or '').lower()}") from error
    members, material = archive.unpack(content)
    endpoint = members["Endpoints"]["docker"]
    contexts.write(
        context,
        address=str(endpoint.get("Host", "")),
        description=str(members["Metadata"].get("Description", "")),
        skip_verify=bool(endpoint.get("SkipTLSVerify")),
        material=material,
    )
    output.echo(context)
    output.echo(f'Successfully imported context "{context}"', err=True)
    return 0
