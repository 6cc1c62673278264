"""The networks room: what connects containers to each other, to this host and to the world.

Words: a *network* is a row and, for the bridge driver, a Linux bridge. An *endpoint* is one container's place on one
network: an address, a MAC, a pair of links. A *wish* is what somebody asks for; *published* is a host port that leads
to a container. The *ledger* is the room's memory of rows; the *host* is what the kernel holds.

The rule for crashes: a row first, the kernel after; at start, whatever the kernel holds without a row is removed, and
whatever rows ask for is made again. Nothing here is needed while containers run, but the name server.

It never starts programs in the hot path, never writes one firewall rule per port, and never touches a link, a route or
a table it did not make.
"""
