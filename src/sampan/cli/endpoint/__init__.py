"""Which daemon: address, context and TLS, and how a connection to it is made.

`choose.py` decides from flags, environment and settings; `contexts.py` reads and writes Docker's context files;
`connect.py` makes Unix, TCP, TLS and SSH connections. Words used: an *endpoint* is an address with what TLS needs.
"""
