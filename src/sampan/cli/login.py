"""`login` and `logout`: the daemon asks the registry, the client remembers."""

from __future__ import annotations

import sys

from sampan.cli import failures, output
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import auth, file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@declare.command()
@declare.option("--password", "-p", help="Password or token")
@declare.option("--password-stdin", is_flag=True, help="Read the password or token from stdin")
@declare.option("--username", "-u", help="User name")
@declare.argument("server", default="")
def login(server: str, *, password: str | None, password_stdin: bool, username: str | None) -> int:
    """Authenticate to a registry."""
    if password and password_stdin:
        raise failures.BadUsage("conflicting options: cannot specify both --password and --password-stdin")
    if password:
        output.echo("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", err=True)
    if password_stdin:
        if not username:
            raise failures.BadUsage("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    place = server_key(server)
    user, secret = _asked(place, username or "", password or "")
    body = {"username": user, "password": secret, "serveraddress": place}
    answer: Any = daemon().post("/auth", body=body) or {}
    helper = auth.keep(place, user, secret, str(answer.get("IdentityToken") or ""))
    if not helper:
        output.echo(
            f"\nWARNING! Your credentials are stored unencrypted in '{file.path()}'.\n"
            "Configure a credential helper to remove this warning: credsStore in that file names one.\n",
            err=True,
        )
    output.echo(str(answer.get("Status") or "Login Succeeded"))
    return 0


def server_key(server: str) -> str:
    """The key of the file for what a person typed: the host, or Docker Hub's. Pure."""
    if server in ("", "docker.io", "index.docker.io", "registry-1.docker.io", auth.HUB):
        return auth.HUB
    return auth.host_of(server)


def _asked(place: str, user: str, password: str) -> tuple[str, str]:
    """Ask a person for what is missing; what is kept already is offered. Raises: CliError."""
    if user and password:
        return user, password
    known = auth.credentials(place) if not password else {}
    if known.get("username") and known.get("password") and user in ("", known["username"]):
        output.echo("Authenticating with existing credentials... [Username: " + known["username"] + "]\n")
        return known["username"], known["password"]
    if not sys.stdin.isatty():
        raise failures.CliError("Error: Cannot perform an interactive login from a non TTY device")
    if not user:
        sys.stdout.write("Username: ")
        sys.stdout.flush()
        user = sys.stdin.readline().strip()
    if not user:
        raise failures.CliError("Error: Non-null Username Required")
    if not password:
        import getpass

        password = getpass.getpass("Password: ")
    if not password:
        raise failures.CliError("Error: Password Required")
    return user, password


@declare.command()
@declare.argument("server", default="")
def logout(server: str) -> int:
    """Log out from a registry."""
    place = server_key(server)
    output.echo(f"Removing login credentials for {place}")
    auth.forget(place)
    return 0
