"""The networks room against a real kernel: each scenario of `networks_lab` on a host of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")]

LAB = Path(__file__).with_name("networks_lab.py")
SENTENCES = {
    "neighbours": "containers on one network reach each other and their gateway",
    "ready_berths": "a container takes a namespace that was made ready and finds it as any other",
    "world": "the world sees containers under the host's address",
    "published": "a published port is reachable from everywhere and gone after detach",
    "published_udp": "a published UDP port answers from the address that was asked",
    "udp_flow": "a UDP client that never pauses reaches each container that takes the port over",
    "localhost_only": "a port published on 127.0.0.1 is reachable from this host only",
    "one_address": "a port published on one address is closed on the others",
    "port_range": "a range of twenty thousand ports is one element",
    "hairpin": "a container reaches a published port through the host's address",
    "no_icc": "without inter-container communication neighbours meet at published ports only",
    "isolation": "networks do not reach each other",
    "internal": "an internal network has no way out and no way in",
    "conflicts": "a taken port refuses the attach and loses nothing",
    "failure_undone": "an attach that fails in the kernel leaves nothing behind",
    "hot_plug": "a running container joins and leaves networks with its ports and default route",
    "verbs": "networks are created listed refused pruned and removed as docker says",
    "flushed": "a table that another program flushed is written again and ports work on",
    "other_firewall": "a host firewall that drops forwarded packets is told with a remedy that works",
    "host_refuses": "the hosts own firewall refuses a published port as the page shows",
    "edited_ports": "published ports of a running container change without a restart",
    "linked": "without inter-container communication a link opens one port in one direction",
    "fixed_range": "bip fixed cidr and default gateway are seen in addresses and routes",
    "no_iptables": "with iptables off no rule is written",
    "restart": "a restarted daemon restores what is missing and removes what is stray",
    "killed": "a daemon killed at any moment leaves nothing that the next start does not find",
    "names": "containers find each other by name before and after a restart",
}


@pytest.mark.parametrize("scenario", SENTENCES, ids=lambda name: SENTENCES[name].replace(" ", "_"))
def test_on_a_host_of_its_own(scenario: str) -> None:
    line = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, str(LAB), scenario]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
