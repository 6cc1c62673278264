"""The command line: docker's words, docker's options, docker's tables, over the daemon's socket.

It imports no web server, no database and no netlink library, and each command only when it is called (`table.py`), so
that it starts fast. `line/` is its grammar, `endpoint/` finds the daemon, `settings/` is a person's own file. What a
command sends is decided by pure functions (`create.py`, `specs.py`); what it prints by others (`tables.py`,
`template.py`).
"""
