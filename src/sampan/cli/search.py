"""`search`."""

from __future__ import annotations

from sampan.cli import failures, filters, output, tables
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import auth

COLUMNS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
DESCRIPTION_LENGTH = 45
LARGEST = 100


@declare.command()
@declare.option("--filter", "-f", "chosen", kind="filter", help="Show those that match (stars=3, is-official=true)")
@declare.option("--format", "form", help="A template")
@declare.option("--limit", type=int, default=0, help="Show at most so many")
@declare.option("--no-trunc", is_flag=True, help="Do not shorten")
@declare.argument("term")
def search(term: str, *, chosen: tuple[str, ...], form: str | None, limit: int, no_trunc: bool) -> int:
    """Search a registry for images: ours, or HOST:PORT/TERM."""
    if not 0 <= limit <= LARGEST:
        raise failures.BadUsage(f"limit {limit} is outside the range of [1, {LARGEST}]")
    query = {"term": term, "limit": limit or None, "filters": filters.encode(chosen)}
    with daemon().open("GET", "/images/search", query=query, headers=auth.for_image(term)) as response:
        import json

        found = json.loads(response.read())
    is_table = form in (None, "") or str(form).startswith("table")
    rows = [
        {
            "Description": described(item.get("description") or "", full=no_trunc),
            "IsOfficial": shown(bool(item.get("is_official")), table=is_table),
            "Name": item["name"],
            "StarCount": str(item.get("star_count") or 0),
        }
        for item in sorted(found, key=lambda item: -(item.get("star_count") or 0))
    ]
    output.echo(tables.listing(rows, COLUMNS, form or "", type_name="*registry.searchContext"), nl=False)
    return 0


def described(text: str, *, full: bool) -> str:
    """On one line, shortened. Pure."""
    line = text.replace("\n", " ").replace("\r", " ")
    return line if full else tables.cut(line, DESCRIPTION_LENGTH)


def shown(truth: bool, *, table: bool) -> str:
    """As the table or as a value. Pure."""
    return ("[OK]" if truth else "") if table else str(truth).lower()
