"""systemd is told through its socket, and nobody is bothered where there is none."""

import socket
from pathlib import Path

from sampan.host import service_manager


def test_the_message_arrives(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        assert service_manager.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert channel.recv(100) == b"READY=1"


def test_without_a_service_manager_nothing_is_sent() -> None:
    assert not service_manager.notify("READY=1", {})
    assert not service_manager.notify("READY=1", {"NOTIFY_SOCKET": "relative"})
