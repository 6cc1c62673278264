"""The Docker Engine API, version 1.47, as one face of the daemon.

Handlers decode a request, call one verb of a room, and render the answer; they decide nothing. The routes are one table
(`routes.py`), the statuses are one table (`dialect.py`), the shapes of answers are pure functions (`render_*.py`).
Paths may begin with `/v1.24` to `/v1.47` or with no version, which means the newest.

Source: Engine API 1.47 (moby/moby:api/swagger.yaml).
"""
