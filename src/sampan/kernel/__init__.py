"""The kernel room: system calls, mounts, namespaces, netlink and nftables, spoken directly.

Words: a *call* is one system call by name; a `KernelError` is a call that failed, with its arguments and its errno.
This is the only room that imports ctypes or speaks netlink. It holds no decisions: callers say exactly what to do.

It never reads the database, never starts programs, and never guesses at a path outside the one it was given.
"""
