"""The options of `run` and `create`, a row each. Pure.

Source: the names, short forms and kinds are those of `docker run --help` 28.2; a test compares them.
"""

from __future__ import annotations

from sampan.cli import requests, specs
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Command = Callable[..., Any]

_flag = declare.flag
OPTIONS: tuple[declare.Flag, ...] = (
    _flag("--add-host", kind="list", check=specs.parse_extra_host, help="Add a host-to-address mapping (host:ip)"),
    _flag("--annotation", kind="map", help="Add an annotation, which the runtime is told"),
    _flag("--attach", "-a", kind="list", check=specs.check_stream, help="Attach to stdin, stdout or stderr"),
    _flag("--blkio-weight", kind="uint16", default=0, help="Block IO weight, 10 to 1000; 0 for none"),
    _flag("--blkio-weight-device", kind="list", check=specs.parse_weight, help="Block IO weight of a device"),
    _flag("--cap-add", kind="list", help="Add a Linux capability"),
    _flag("--cap-drop", kind="list", help="Drop a Linux capability"),
    _flag("--cgroup-parent", default="", help="Parent cgroup of the container"),
    _flag("--cgroupns", default="", values=("host", "private"), help="Cgroup namespace: host or private"),
    _flag("--cidfile", default="", help="Write the container's id to this file"),
    _flag("--cpu-count", kind="int", default=0, help="Processors (Windows only)"),
    _flag("--cpu-percent", kind="int", default=0, help="Share of the processors (Windows only)"),
    _flag("--cpu-period", kind="int", default=0, help="Period of the CPU quota in microseconds"),
    _flag("--cpu-quota", kind="int", default=0, help="CPU quota in each period, in microseconds"),
    _flag("--cpu-rt-period", kind="int", default=0, help="Period of real-time scheduling in microseconds"),
    _flag("--cpu-rt-runtime", kind="int", default=0, help="Real-time runtime in each period, in microseconds"),
    _flag("--cpu-shares", "-c", kind="int", default=0, help="CPU shares (relative weight)"),
    _flag("--cpus", kind="decimal", default="", help="Number of CPUs"),
    _flag("--cpuset-cpus", default="", help="CPUs that may be used (0-3, 0,1)"),
    _flag("--cpuset-mems", default="", help="Memory nodes that may be used (0-3, 0,1)"),
    _flag("--device", kind="list", help="Add a host device"),
    _flag("--device-cgroup-rule", kind="list", help="Add a rule to the allowed devices"),
    _flag("--device-read-bps", kind="list", check=specs.parse_throttle, help="Most bytes a second read of a device"),
    _flag("--device-read-iops", kind="list", help="Most reads a second of a device"),
    _flag(
        "--device-write-bps", kind="list", check=specs.parse_throttle, help="Most bytes a second written to a device"
    ),
    _flag("--device-write-iops", kind="list", help="Most writes a second to a device"),
    _flag("--disable-content-trust", is_flag=True, default=None, help="Do not verify signatures (default true)"),
    _flag("--dns", kind="list", check=specs.check_address, help="DNS servers"),
    _flag("--dns-option", "--dns-opt", kind="list", help="DNS options"),
    _flag("--dns-search", kind="list", help="DNS search domains"),
    _flag("--domainname", default="", help="NIS domain name"),
    _flag("--entrypoint", default=None, help="Replace the image's ENTRYPOINT"),
    _flag("--env", "-e", kind="list", check=specs.check_environment, help="Environment variables"),
    _flag("--env-file", kind="list", help="Read environment variables from a file"),
    _flag("--expose", kind="list", help="Expose a port or a range of ports"),
    _flag("--gpus", kind="gpu-request", check=requests.gpus, help="Ask for graphics processors (refused: none here)"),
    _flag("--group-add", kind="list", help="Additional groups to join"),
    _flag("--health-cmd", default="", help="Command that checks the health"),
    _flag("--health-interval", kind="duration", default="", help="Time between checks (ms|s|m|h)"),
    _flag("--health-retries", kind="int", default=0, help="Failures in a row that mean unhealthy"),
    _flag("--health-start-interval", kind="duration", default="", help="Time between checks while it starts"),
    _flag("--health-start-period", kind="duration", default="", help="Time to start, while failures do not count"),
    _flag("--health-timeout", kind="duration", default="", help="Longest time of one check (ms|s|m|h)"),
    _flag("--hostname", "-h", default="", help="Host name inside"),
    _flag("--init", is_flag=True, default=None, help="Run an init inside that passes signals on and reaps processes"),
    _flag("--interactive", "-i", is_flag=True, help="Keep stdin open even if not attached"),
    _flag("--io-maxbandwidth", kind="bytes", default="", help="Bandwidth of the system drive (Windows only)"),
    _flag("--io-maxiops", kind="uint", default=0, help="Operations of the system drive (Windows only)"),
    _flag("--ip", default="", help="IPv4 address"),
    _flag("--ip6", default="", help="IPv6 address"),
    _flag("--ipc", default="", values=("host", "none", "private", "shareable"), help="IPC mode"),
    _flag("--isolation", default="", help="Isolation technology: default"),
    _flag("--kernel-memory", kind="bytes", default="", help="Kernel memory limit"),
    _flag("--label", "-l", kind="list", help="Labels"),
    _flag("--label-file", kind="list", help="Read labels from a file, a line each"),
    _flag("--link", kind="list", help="Link to another container"),
    _flag("--link-local-ip", kind="list", help="Link-local addresses"),
    _flag("--log-driver", default="", help="Log driver"),
    _flag("--log-opt", kind="list", help="Log driver options"),
    _flag("--mac-address", default="", help="MAC address (92:d0:c6:0a:29:33)"),
    _flag("--memory", "-m", kind="bytes", default="", help="Memory limit"),
    _flag("--memory-reservation", kind="bytes", default="", help="Memory soft limit"),
    _flag("--memory-swap", kind="bytes", default="", help="Limit of memory and swap together; -1: no limit"),
    _flag("--memory-swappiness", kind="int", default=-1, help="Swappiness, 0 to 100"),
    _flag("--mount", kind="mount", check=specs.check_mount, help="Attach a filesystem mount"),
    _flag("--name", default="", help="Name of the container"),
    _flag("--network", "--net", kind="network", check=specs.parse_network, help="Connect to a network"),
    _flag("--network-alias", "--net-alias", kind="list", help="Names on the network"),
    _flag("--no-healthcheck", is_flag=True, help="No health check, whatever the image says"),
    _flag("--oom-kill-disable", is_flag=True, help="Disable the OOM killer"),
    _flag("--oom-score-adj", kind="int", default=0, help="The host's OOM preference, -1000 to 1000"),
    _flag("--pid", default="", help="PID namespace"),
    _flag("--pids-limit", kind="int", default=0, help="Limit of processes; -1 for none"),
    _flag("--platform", default="", help="Platform of the image"),
    _flag("--privileged", is_flag=True, help="Give extended privileges"),
    _flag("--publish", "-p", kind="list", help="Publish ports to the host"),
    _flag("--publish-all", "-P", is_flag=True, help="Publish all exposed ports to random ports"),
    _flag("--pull", default="missing", values=("always", "missing", "never"), help="When to pull the image"),
    _flag("--quiet", "-q", is_flag=True, help="No output of a pull"),
    _flag("--read-only", is_flag=True, help="Mount the root filesystem read only"),
    _flag("--restart", default="no", help="Restart policy: no, always, unless-stopped, on-failure[:N]"),
    _flag("--rm", is_flag=True, help="Remove the container and its anonymous volumes when it exits"),
    _flag("--runtime", default="", help="OCI runtime"),
    _flag("--security-opt", kind="list", help="Security options"),
    _flag("--shm-size", kind="bytes", default="", help="Size of /dev/shm"),
    _flag("--stop-signal", default="", help="Signal that stops the container"),
    _flag("--stop-timeout", kind="int", default=None, help="Seconds until a stop becomes a kill"),
    _flag("--storage-opt", kind="list", help="Storage driver options"),
    _flag("--sysctl", kind="map", check=specs.check_sysctl, help="Kernel settings of the namespaces"),
    _flag("--tmpfs", kind="list", help="Mount a tmpfs"),
    _flag("--tty", "-t", is_flag=True, help="Allocate a terminal"),
    _flag("--ulimit", kind="ulimit", check=specs.parse_ulimit, help="Ulimits"),
    _flag("--use-api-socket", is_flag=True, help="Refused: bind the socket by -v"),
    _flag("--user", "-u", default="", help="User name or id (name|uid[:group|gid])"),
    _flag("--userns", default="", help="User namespace"),
    _flag("--uts", default="", help="UTS namespace"),
    _flag("--volume", "-v", kind="list", help="Bind mount a volume"),
    _flag("--volume-driver", default="", help="Volume driver"),
    _flag("--volumes-from", kind="list", help="Mount the volumes of other containers"),
    _flag("--workdir", "-w", default="", help="Working directory inside"),
)


def with_options(command: Command) -> Command:
    """A decorator: all of `OPTIONS`."""
    return declare.with_flags(OPTIONS)(command)
