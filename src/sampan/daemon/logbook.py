"""The daemon's own log on standard error: readable lines, or JSON.

No times where the service manager writes its own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Final

from sampan.config.options import Options
from sampan.host import service_manager

LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}
NOISY: Final = ("asyncio", "aiohttp.access", "alembic", "sqlalchemy")


def start(options: Options) -> None:
    """From now on everything that is logged goes there."""
    stamp = "" if service_manager.has_started_us(os.environ) else "%(asctime)s.%(msecs)03d "
    line = logging.Formatter(f"{stamp}%(levelname)-5s %(name)s: %(message)s", datefmt="%H:%M:%S")
    if options.raw_logs:
        line = _Stamped("%(asctime)s %(levelname)-5s %(name)s: %(message)s")
    if options.log_format == "json":
        line = _Json()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(line)
    logging.basicConfig(handlers=[handler], force=True)
    for name, short in ((logging.WARNING, "WARN"), (logging.CRITICAL, "FATAL")):
        logging.addLevelName(name, short)
    set_level(options)
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def set_level(options: Options) -> None:
    """`--debug`, `--log-level`; also while the daemon runs."""
    level = 10 if options.debug else LEVELS[options.log_level]
    logging.getLogger().setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Stamped(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """RFC 3339 with nanoseconds' worth of digits, as dockerd's raw log has it."""
        return _moment(record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One object a line, with dockerd's members."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        level = {"WARN": "warning"}.get(record.levelname, record.levelname.lower())
        return json.dumps({"time": _moment(record), "level": level, "msg": text, "module": record.name})


def _moment(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.created % 1 * 1e6):06d}000Z"
