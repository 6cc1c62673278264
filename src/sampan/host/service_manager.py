"""systemd's notifications. Source: sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(message: str, environment: Mapping[str, str]) -> bool:
    """Tell the service manager, if there is one. False if nobody asked to be told."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(message.encode(), target)
    return True


def has_started_us(environment: Mapping[str, str]) -> bool:
    """Whether systemd runs this process as a service."""
    return "INVOCATION_ID" in environment and os.getppid() == 1
