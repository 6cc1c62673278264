"""What most commands share: the client of this run, and verbs on many names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sampan.cli import failures

if TYPE_CHECKING:
    from sampan.cli.client import Client

T = TypeVar("T")


def daemon() -> Client:
    """The daemon that `-H` or the environment names."""
    from sampan.cli import client

    return client.from_environment(click.get_current_context().find_root().obj)


def each(names: Iterable[str], verb: Callable[[str], Any], *, show: bool = True) -> int:
    """Do it for every name, print those that went well, and tell the failures. 1 if any failed."""
    code = 0
    for name in names:
        try:
            verb(name)
        except failures.NoDaemon:
            raise
        except failures.CliError as error:
            sys.stderr.write(f"{error}\n")
            code = failures.GENERAL
        else:
            if show:
                click.echo(name)
    return code
