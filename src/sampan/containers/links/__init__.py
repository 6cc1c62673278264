"""`--link`: others' names in /etc/hosts, their ports and variables in the environment, a way through `--icc=false`.

Docker's way of 2013 to find each other on the default network; networks of your own do without. A link is stored
with the other's id, so that it outlives a renaming. `plan` decides, `apply` looks up and writes.
"""
