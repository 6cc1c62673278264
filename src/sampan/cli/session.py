"""What the words in front of the command chose: address, context, folder of settings, TLS. One process, one session."""

from __future__ import annotations

from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GLOBALS = (
    declare.flag("--config", help='Folder of the client\'s settings (default "~/.docker")'),
    declare.flag("--context", "-c", help="Context that names the daemon (goes before DOCKER_HOST)"),
    declare.flag("--debug", "-D", is_flag=True, help="Enable debug mode"),
    declare.flag("--host", "-H", kind="list", help="Daemon to talk to: unix:///path, tcp://host:port, ssh://user@host"),
    declare.flag(
        "--log-level",
        "-l",
        default="info",
        values=("debug", "info", "warn", "error", "fatal"),
        help='Level of messages ("debug", "info", "warn", "error", "fatal")',
    ),
    declare.flag("--tls", is_flag=True, help="Use TLS; implied by --tlsverify"),
    declare.flag("--tlscacert", help='Trust only certificates that this file signed (default "~/.docker/ca.pem")'),
    declare.flag("--tlscert", help='The client\'s certificate (default "~/.docker/cert.pem")'),
    declare.flag("--tlskey", help='The key of that certificate (default "~/.docker/key.pem")'),
    declare.flag("--tlsverify", is_flag=True, help="Use TLS and verify the daemon"),
    declare.flag("--version", "-v", is_flag=True, help="Print the version and quit"),
)

# The values of `GLOBALS` by target, as `main` read them.
chosen: dict[str, Any] = {flag.target: flag.default for flag in GLOBALS}
