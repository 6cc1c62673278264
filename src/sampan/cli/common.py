"""What most commands share: the client of this run, and verbs on many names."""

from __future__ import annotations

import sys

from sampan.cli import failures, output, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from sampan.cli.client import Client


def daemon() -> Client:
    """The daemon that flags, environment or settings name."""
    from sampan.cli.endpoint import choose

    return choose.for_this_run(session.chosen)


def each(
    names: Iterable[str], verb: Callable[[str], Any], *, show: bool = True, failed: list[str] | None = None
) -> int:
    """Do it for every name, print those that went well, tell the failures and add them to `failed`. 1 if any failed."""
    code = 0
    for name in names:
        try:
            verb(name)
        except failures.NoDaemon:
            raise
        except failures.CliError as error:
            sys.stdout.flush()
            sys.stderr.write(f"{error}\n")
            code = failures.GENERAL
            if failed is not None:
                failed.append(name)
        else:
            if show:
                output.echo(name)
    return code
