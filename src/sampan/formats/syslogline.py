"""Lines for syslog daemons, in the forms Docker's driver offers. Pure.

Source: RFC 3164 section 4, RFC 5424 section 6; docker's `syslog-format` and `syslog-facility`.
"""

from __future__ import annotations

import time
from typing import Literal, get_args

Form = Literal["", "rfc3164", "rfc5424", "rfc5424micro"]
FORMS: tuple[Form, ...] = get_args(Form)
_NAMES = ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
FACILITIES = {
    **{name: number for number, name in enumerate(_NAMES)},
    **{f"local{number}": 16 + number for number in range(8)},
}
ERROR, INFORMATION = 3, 6  # severities of standard error and output
NS = 1_000_000_000
NIL = "-"


def facility(text: str) -> int:
    """A name or a number from 0 to 23. Raises ValueError."""
    if text in FACILITIES:
        return FACILITIES[text]
    if text.isdecimal() and int(text) <= 23:
        return int(text)
    raise ValueError(text)


def line(
    message: bytes, *, form: Form, facility: int, severity: int, time_ns: int, hostname: str, tag: str, pid: int
) -> bytes:
    """One line with its newline."""
    priority = facility * 8 + severity
    if form in ("rfc5424", "rfc5424micro"):
        digits = 6 if form == "rfc5424micro" else 0
        head = f"<{priority}>1 {moment(time_ns, digits)} {hostname or NIL} {tag or NIL} {pid} {tag or NIL} {NIL} "
    else:
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(time_ns // NS))
        host = f"{hostname} " if form == "rfc3164" else ""
        head = f"<{priority}>{stamp} {host}{tag}[{pid}]: "
    return head.encode() + message.replace(b"\0", b"") + b"\n"


def moment(time_ns: int, digits: int) -> str:
    """RFC 3339 in UTC with so many digits of a second."""
    seconds, fraction = divmod(time_ns, NS)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}"[: len(text) + (1 + digits if digits else 0)] + "Z"
