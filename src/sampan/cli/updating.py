"""`update`: docker's limits and restart policy, and Sampan's edits: ports, environment, mounts, labels, command."""

from __future__ import annotations

import os

from sampan.cli import failures, output, specs, units
from sampan.cli.common import daemon, each
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NUMBERS = {"blkio_weight": "BlkioWeight", "cpu_period": "CpuPeriod", "cpu_quota": "CpuQuota"} | {
    "cpu_rt_period": "CpuRealtimePeriod",
    "cpu_rt_runtime": "CpuRealtimeRuntime",
    "cpu_shares": "CpuShares",
    "pids_limit": "PidsLimit",
}
_SIZES = {"memory": "Memory", "memory_reservation": "MemoryReservation"}


@declare.command()
@declare.option("--blkio-weight", kind="uint16", default=0, help="Block IO weight, 10 to 1000")
@declare.option("--cpu-period", type=int, default=0, help="CPU CFS period in microseconds")
@declare.option("--cpu-quota", type=int, default=0, help="CPU CFS quota in microseconds")
@declare.option("--cpu-rt-period", type=int, default=0, help="Period of real-time scheduling in microseconds")
@declare.option("--cpu-rt-runtime", type=int, default=0, help="Real-time runtime in each period, in microseconds")
@declare.option("--cpu-shares", "-c", type=int, default=0, help="CPU shares (relative weight)")
@declare.option("--cpus", kind="decimal", default="", help="Number of CPUs")
@declare.option("--cpuset-cpus", default="", help="CPUs that may be used (0-3, 0,1)")
@declare.option("--cpuset-mems", default="", help="Memory nodes that may be used")
@declare.option("--memory", "-m", kind="bytes", default="", help="Memory limit")
@declare.option("--memory-reservation", kind="bytes", default="", help="Memory soft limit")
@declare.option("--memory-swap", kind="bytes", default="", help="Memory and swap limit; -1 for no limit of swap")
@declare.option("--pids-limit", type=int, default=0, help="Limit of processes; -1 for none")
@declare.option("--restart", default="", help="Restart policy: no, always, unless-stopped, on-failure[:N]")
@declare.option("--publish-add", multiple=True, help="Publish one more port, at once (8080:80)")
@declare.option("--publish-rm", multiple=True, help="Take a published port back, at once (8080)")
@declare.option("--env-add", multiple=True, help="Set a variable from the next start on (K=V)")
@declare.option("--env-rm", multiple=True, help="Take a variable away from the next start on")
@declare.option("--label-add", multiple=True, help="Set a label")
@declare.option("--label-rm", multiple=True, help="Take a label away")
@declare.option("--mount-add", multiple=True, help="Attach a mount from the next start on (as --mount of run)")
@declare.option("--mount-rm", multiple=True, help="Detach what is mounted at a path, from the next start on")
@declare.option("--command", default=None, help="Another command from the next start on (in a shell's words)")
@declare.option("--entrypoint", default=None, help="Another entrypoint from the next start on")
@declare.option("--user", "-u", default=None, help="Another user from the next start on")
@declare.option("--workdir", "-w", default=None, help="Another working directory from the next start on")
@declare.argument("containers", nargs=-1, required=True)
def update(containers: tuple[str, ...], **options: Any) -> int:
    """Update configuration of one or more containers."""
    sent = body(options, os.environ, os.getcwd())  # noqa: PTH109 - pathlib costs a start 5 ms
    if not sent:
        raise failures.BadUsage("you must provide one or more flags when using this command")
    client = daemon()

    def one(name: str) -> None:
        answer = client.post(f"/containers/{name}/update", body=sent)
        for warning in answer.get("Warnings") or []:
            output.echo(warning, err=True)

    return each(containers, one)


def body(options: Mapping[str, Any], environment: Mapping[str, str], directory: str) -> dict[str, Any]:
    """What is sent; {} when nothing is asked for. Pure. Raises: BadUsage."""
    found: dict[str, Any] = {key: options[name] for name, key in _NUMBERS.items() if options[name]}
    found |= {key: units.parse_size(options[name]) for name, key in _SIZES.items() if options[name]}
    found |= {key: options[name] for name, key in (("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems"))}
    if options["memory_swap"]:
        swap = options["memory_swap"]
        found["MemorySwap"] = -1 if swap == "-1" else units.parse_size(swap)
    if options["cpus"]:
        found["NanoCpus"] = units.parse_cpus(options["cpus"])
    if options["restart"]:
        found["RestartPolicy"] = specs.parse_restart(options["restart"])
    found = {key: value for key, value in found.items() if value}
    edit = _edit(options, environment, directory)
    return found | ({"Sampan": edit} if edit else {})


def _edit(options: Mapping[str, Any], environment: Mapping[str, str], directory: str) -> dict[str, Any]:
    exposed, bindings = specs.parse_ports(options["publish_add"])
    edit: dict[str, Any] = {
        "PublishAdd": {port: bindings.get(port) or [{"HostIp": "", "HostPort": ""}] for port in exposed},
        "PublishRemove": list(options["publish_rm"]),
        "EnvAdd": specs.read_environment([], options["env_add"], environment),
        "EnvRemove": list(options["env_rm"]),
        "LabelAdd": specs.parse_pairs(options["label_add"]),
        "LabelRemove": list(options["label_rm"]),
        "MountAdd": [specs.parse_mount(text, directory) for text in options["mount_add"]],
        "MountRemove": list(options["mount_rm"]),
    }
    edit = {key: value for key, value in edit.items() if value}
    if options["command"] is not None:
        edit["Cmd"] = _words(options["command"])
    if options["entrypoint"] is not None:
        edit["Entrypoint"] = _words(options["entrypoint"])
    if options["user"] is not None:
        edit["User"] = options["user"]
    if options["workdir"] is not None:
        edit["WorkingDir"] = options["workdir"]
    return edit


def _words(text: str) -> list[str]:
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise failures.BadUsage(f"invalid command {text!r}: {error}") from error
