"""Healthchecks: whether what runs in a container works, asked by a command in it every so often.

`plan` says what a probe is and what its result means; `probing` runs the probes of running containers. A container
without a healthcheck costs nothing here.
"""
