"""Programs that keep passwords: `docker-credential-NAME get|store|erase|list`, JSON on their streams.

Source: docker/docker-credential-helpers, README, "Development".
"""

from __future__ import annotations

import json
import subprocess

from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOKEN_USER = "<token>"  # the user name under which an identity token is kept
_NOT_FOUND = "credentials not found"
_LIMIT_S = 300.0  # it may ask a person for the key of a password store


class HelperFailed(failures.CliError):
    """The program is missing, or said no."""


def get(helper: str, server: str) -> dict[str, str]:
    """username and password, or identitytoken; {} if it has none. Raises: HelperFailed."""
    try:
        found = json.loads(_run(helper, "get", server))
        user, secret = str(found["Username"]), str(found["Secret"])
    except HelperFailed as error:
        if _NOT_FOUND in str(error):
            return {}
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise HelperFailed(f"error getting credentials - docker-credential-{helper} answered no credentials") from error
    if not secret and not user:
        return {}
    return {"identitytoken": secret} if user == TOKEN_USER else {"username": user, "password": secret}


def store(helper: str, server: str, user: str, secret: str) -> None:
    """Raises: HelperFailed."""
    _run(helper, "store", json.dumps({"ServerURL": server, "Username": user, "Secret": secret}, separators=(",", ":")))


def erase(helper: str, server: str) -> None:
    """Raises: HelperFailed."""
    _run(helper, "erase", server)


def listed(helper: str) -> dict[str, str]:
    """server -> user. Raises: HelperFailed."""
    try:
        found: Any = json.loads(_run(helper, "list", ""))
    except ValueError as error:
        raise HelperFailed(f"docker-credential-{helper} list answered no JSON") from error
    return {str(server): str(user) for server, user in found.items()} if isinstance(found, dict) else {}


def _run(helper: str, verb: str, said: str) -> str:
    """What it prints. Raises: HelperFailed."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb],
            input=said,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HelperFailed(
            f"error {verb} credentials - {program} cannot be run: {error}: install it, or remove credsStore and "
            "credHelpers from config.json"
        ) from error
    if done.returncode:
        said = done.stdout.strip() or f"exit status {done.returncode}"
        raise HelperFailed(f"error {verb} credentials - err: exit status {done.returncode}, out: `{said}`")
    return done.stdout
