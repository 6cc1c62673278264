"""Log drivers: what becomes of a container's output beside the log that is always kept.

Every container's output goes into its own framed log, whichever driver it has, so `logs` works for all but `none`, and
no log daemon can hold a container up. For `journald` and `syslog` the daemon reads that log and sends it on, from a
position it remembers: what was written while the daemon or the log daemon was away follows later, at least once.

`options` reads and checks `--log-opt`, `tags` the template of a tag, `sinks` are the receivers, `forwarding` the task.
"""
