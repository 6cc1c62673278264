"""BuildKit's services, as far as `docker build` with the buildx plugin asks for them, over Sampan's own builder.

Words: a *session* is a connection on which the client serves (its files, secrets, agent) and the daemon calls; a
*solve* is one build under a reference that the client chose; a *vertex* is a line of the client's progress. No LLB is
interpreted: a client that asks for the Dockerfile frontend gets this daemon's, and its result names the request.

Only `endpoints` is imported at start; the rest, with HTTP/2, when the first client comes.
"""
