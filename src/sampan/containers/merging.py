"""A client's wish and an image's configuration become one, and what can never work is refused. Pure."""

from __future__ import annotations

import signal

import msgspec

from sampan import errors
from sampan.containers import ports, resources
from sampan.containers.health import plan
from sampan.containers.logdrivers import options as logoptions
from sampan.containers.wanted import Config, Healthcheck, HostConfig, Wanted
from sampan.images.model import Config as ImageConfig

DEFAULT_STOP_TIMEOUT_S = 10
POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
LONGEST_HOSTNAME = 64  # bytes, HOST_NAME_MAX


class WishInvalid(errors.Invalid):
    """A container that can never run as it is asked for."""


def merge(config: Config, image: ImageConfig) -> Config:
    """What the client left out comes from the image. Environment, labels, ports and volumes add up."""
    names = {item.partition("=")[0] for item in config.env}
    inherited = [item for item in image.env if item.partition("=")[0] not in names]
    # A client's entrypoint resets the image's command; `[""]` is how the CLI says "none".
    entrypoint = [word for word in config.entrypoint if word] if config.entrypoint else list(image.entrypoint)
    command = list(image.cmd) if not config.cmd and not config.entrypoint else config.cmd
    inherited_health = None
    if image.healthcheck is not None:
        asked = image.healthcheck
        inherited_health = Healthcheck(
            test=list(asked.test),
            interval=asked.interval_ns,
            timeout=asked.timeout_ns,
            retries=asked.retries,
            start_period=asked.start_period_ns,
            start_interval=asked.start_interval_ns,
        )
    return msgspec.structs.replace(
        config,
        env=[*inherited, *config.env],
        entrypoint=entrypoint,
        cmd=command,
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        exposed_ports={**{port: {} for port in image.exposed_ports}, **config.exposed_ports},
        volumes={**{path: {} for path in image.volumes}, **config.volumes},
        labels={**image.labels, **config.labels},
        stop_signal=config.stop_signal or image.stop_signal,
        healthcheck=plan.merge(config.healthcheck, inherited_health),
    )


def check(wanted: Wanted, *, cpus: int) -> list[str]:
    """Raises a kind of `Invalid`; returns warnings. `wanted.config` is merged."""
    config, host = wanted.config, wanted.host
    if not config.entrypoint and not config.cmd:
        raise WishInvalid("no command specified", remedy="name a command, or use an image that has one")
    for item in (*config.env, *config.cmd, *config.entrypoint, config.working_dir, config.hostname):
        if "\0" in item:
            raise WishInvalid("invalid configuration", why="an argument or environment variable holds a NUL byte")
    if any(not item or item.startswith("=") for item in config.env):
        raise WishInvalid("invalid environment variable", why="it has no name", remedy="write NAME=value")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise WishInvalid(f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path")
    if len(config.hostname.encode()) > LONGEST_HOSTNAME:
        raise WishInvalid(f"invalid hostname: longer than {LONGEST_HOSTNAME} bytes")
    check_policy(host)
    plan.validate(config.healthcheck)
    parse_signal(config.stop_signal or "TERM")
    ports.check(config.exposed_ports, host.port_bindings)
    logoptions.check(host.log_config)
    if host.network_mode == "host" and host.port_bindings:
        return [*resources.check(host, cpus=cpus), "Published ports are discarded when using host network mode"]
    return resources.check(host, cpus=cpus)


def check_policy(host: HostConfig) -> None:
    """Raises `WishInvalid`."""
    policy = host.restart_policy
    if policy.name not in POLICIES:
        raise WishInvalid(
            f"invalid restart policy: unknown policy '{policy.name}'",
            remedy="use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise WishInvalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retry_count < 0:
        raise WishInvalid("invalid restart policy: maximum retry count cannot be negative")
    if host.auto_remove and policy.name not in ("", "no"):
        raise WishInvalid("can't create 'AutoRemove' container with restart policy")


def parse_signal(text: str) -> int:
    """`9`, `KILL`, `SIGKILL`, `RTMIN+3` -> number. Raises `WishInvalid`."""
    bare = text.upper().removeprefix("SIG")
    if bare.isdigit() and 1 <= int(bare) <= 64:
        return int(bare)
    base, plus, offset = bare.partition("+")
    name = f"SIG{base}"
    if name in signal.Signals.__members__ and (not plus or (base == "RTMIN" and offset.isdigit())):
        return int(signal.Signals[name]) + (int(offset) if plus else 0)
    raise WishInvalid(f"Invalid signal: {text}", remedy="see signal(7) for names and numbers")
