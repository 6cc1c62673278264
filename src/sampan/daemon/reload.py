"""SIGHUP: the settings are read again, and those that can change while the daemon runs do.

What dockerd reloads, this does: debug, labels, registries, runtimes, and what new containers get where they say
nothing. Anything else that changed is named in the log: it needs a restart. Settings with a fault change nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan import errors
from sampan.config import load
from sampan.config.options import Options, table
from sampan.daemon import logbook, settings
from sampan.daemon.assembly import Harbour

log = logging.getLogger("sampan")

# Settings that change while the daemon runs. The rest says where or what everything is.
LIVE: Final = frozenset(
    {
        *("debug", "log_level", "labels", "insecure_registries", "registry_mirrors", "shutdown_timeout"),
        *("default_runtime", "runtimes", "default_ulimits", "default_shm_size", "default_ipc_mode"),
        *("default_cgroupns_mode", "init", "init_path", "no_new_privileges", "seccomp_profile", "host_gateway_ip"),
        *("log_driver", "log_options", "log_max_size", "log_max_files", "stop_containers"),
    }
)


def plan(former: Options, found: Options) -> tuple[dict[str, Any], list[str]]:
    """What changes now, by field, and the flags of what needs a restart. Pure."""
    changed = [row for row in table() if getattr(former, row.name) != getattr(found, row.name)]
    now = {row.name: getattr(found, row.name) for row in changed if row.name in LIVE}
    return now, [row.metadata["flags"][-1] for row in changed if row.name not in LIVE]


def reload(harbour: Harbour, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Read and apply. Reports what cannot be in the log."""
    try:
        loaded = load.read(arguments, environment)
        now, later = plan(harbour.options, loaded.options)
        current = dataclasses.replace(harbour.options, **now)
        _apply(harbour, current)
    except errors.SampanError as error:
        log.error("SIGHUP: nothing was changed: %s", error)
        return
    harbour.options = current
    for note in loaded.notes:
        log.warning("%s", note)
    if later:
        log.warning("SIGHUP: a restart is needed for %s", ", ".join(later))
    log.info("SIGHUP: changed %s", ", ".join(sorted(now)) or "nothing")
    harbour.bus.publish("daemon", "reload", harbour.engine.facts.id, name=harbour.engine.facts.hostname)


def _apply(harbour: Harbour, options: Options) -> None:
    """Everything that can fail comes before the first change."""
    defaults, runtimes = settings.defaults(options), settings.runtimes(options)
    harbour.images.settings = settings.registries(options, harbour.secret)
    harbour.room.defaults = defaults
    harbour.room.runtimes = runtimes
    harbour.engine.facts = dataclasses.replace(
        harbour.engine.facts,
        debug=options.debug,
        labels=tuple(options.labels),
        insecure_registries=tuple(options.insecure_registries),
        registry_mirrors=tuple(options.registry_mirrors),
        runtimes={name: runtime.program for name, runtime in runtimes.items() if name},
        default_runtime=options.default_runtime,
        logging_driver=options.log_driver,
    )
    logbook.set_level(options)
