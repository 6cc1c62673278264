"""The build room: a Dockerfile and a context become an image.

Words: a *stage* begins with FROM; a *step* is one instruction of a stage; a *key* names what a step makes from what it
is given, and always covers everything below it; the *cache* maps keys to layers. Two faces call this room:
`POST /build` of the classic builder and the BuildKit services. Both render the events of `model.py`.

It never follows a link of a context or an image out of it, and keeps no container: what a RUN needs is gone with it.
"""
