"""The keeper: one small process per host beside the daemon, the parent of every container.

It holds each container's stdin, stdout, stderr or terminal, writes its log, and records its exit code, so that the
daemon can be killed, upgraded and started again without a container noticing. It decides nothing: the daemon hands it
runtime commands (`runc run --detach ...`) over a socket and is told of exits.

Words: a *process* is a container's init or an exec in one; a *launch* is the time between a request and the runtime's
own exit; a *client* is a connection, usually one daemon; a *pump* moves output from a pipe to the log.

It imports the standard library and `sampan.formats` only, and of the standard library what is cheap (no asyncio,
logging, subprocess, dataclasses, typing, pathlib): its memory is counted in single megabytes. It never reads the
database, mounts, or touches the network, and it never removes a log but by rotation.

Signals: SIGTERM ends it when it holds nothing and is ignored otherwise; SIGINT and SIGHUP are ignored. A service
manager must leave it alone when it stops the daemon (systemd: `KillMode=process`).
"""
