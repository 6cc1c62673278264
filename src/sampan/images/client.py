"""A client of OCI registries: manifests and blobs, both ways. Blocking; call it from worker threads.

Everything received is checked against its digest or its declared size here or by the caller's writer, so nothing that a
header says is believed. Credentials go to the registry's own origin and to a token server that `challenge` permits;
redirects are followed without them. Source: OCI distribution-spec 1.1; the distribution project's token specification.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.parse
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan import errors
from sampan.formats import oci, outline
from sampan.formats.digest import Digest
from sampan.formats.reference import Reference
from sampan.host import http
from sampan.images import challenge, documents, endpoints, model

PIECE_BYTES = 1 << 20
MOST_REDIRECTS = 5
MOST_RETRIES = 5  # in a row without a byte received between them
OUTLINES_HEADER = "sampan-outlines"
LARGEST_ANSWER_BYTES = 1 << 20  # of tokens and error bodies
_OK = frozenset({200, 201, 202, 204, 206})


class PullDenied(errors.NotFound):
    """The repository does not exist, or the caller may not know that it does."""


class NotInRegistry(errors.NotFound):
    """The registry has no such manifest, repository or blob."""


class LoginNeeded(errors.Unauthorized):
    """The registry wants a login, or refused it."""


class PushDenied(errors.Forbidden):
    """The registry knows who is asking and does not let them."""


class RegistryFailed(errors.Unavailable):
    """The registry answered with an error of its own."""


class WrongContent(errors.Invalid):
    """What the registry sent is not what its digest or size says."""


@dataclass(frozen=True, slots=True)
class RemoteManifest:
    """A manifest or index as it was received."""

    content: bytes
    media_type: str
    digest: Digest
    outlines: bool = False  # the registry has outlines of the layers: it is one of ours


@dataclass(slots=True)
class _Session:
    """What one client has learned about one registry."""

    base: str = ""
    authorization: dict[str, str] = field(default_factory=dict)  # scope -> header value
    lock: threading.Lock = field(default_factory=threading.Lock)


class RegistryClient:
    """One registry, one login. Thread-safe; close it after the operation."""

    def __init__(
        self,
        host: str,
        settings: endpoints.Settings,
        credentials: model.Credentials | None = None,
        *,
        mirror: str = "",
    ) -> None:
        """`mirror`: the URL of one that answers in place of `host`; it is shown no login."""
        self.host = mirror.partition("://")[2] or host
        self._settings = settings
        self._credentials = credentials or model.Credentials()
        self._session = _Session()
        self._choice = endpoints.choose_mirror(mirror, settings) if mirror else endpoints.choose(host, settings)
        self._http = http.Http(lambda origin: endpoints.tls_context(origin, self.host, self._choice, settings))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ping(self) -> None:
        """Check that a registry answers and takes the login. Raises `LoginNeeded`, `Unreachable`."""
        with self._call("GET", "/v2/", scope="") as response:
            self._expect(response, f"login to {self.host}")

    def document(self, path: str, *, scope: str) -> dict[str, Any]:
        """A JSON object that the registry serves. Raises `LoginNeeded`, `RegistryFailed`."""
        with self._call("GET", path, scope=scope) as response:
            self._expect(response, f"{self.host}{path.partition('?')[0]}")
            return oci.decode_object(response.read_all(LARGEST_ANSWER_BYTES))

    def manifest(self, reference: Reference) -> RemoteManifest:
        """The manifest or index of `reference`. Raises `PullDenied`, `NotInRegistry`, `WrongContent`."""
        path = f"/v2/{reference.path}/manifests/{reference.version}"
        headers = {"Accept": ", ".join(documents.ACCEPT)}
        with self._call("GET", path, scope=_pull(reference.path), headers=headers) as response:
            self._expect(response, reference.familiar, reference=reference)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip()
            content = response.read_all(oci.LARGEST_MANIFEST_BYTES)
            outlines = response.headers.get(OUTLINES_HEADER) == "1"
        digest = Digest.of(content, reference.digest.algorithm if reference.digest else "sha256")
        if reference.digest is not None and digest != reference.digest:
            raise WrongContent(f"manifest verification failed for digest {reference.digest}", why=f"received {digest}")
        return RemoteManifest(content, media_type, digest, outlines)

    def outline(self, repository: str, digest: str) -> bytes:
        """The outline of a layer, from a registry that has them. Raises `NotInRegistry`."""
        path = f"/v2/{repository}/_sampan/outlines/{digest}"
        with self._call("GET", path, scope=_pull(repository)) as response:
            self._expect(response, f"outline of {digest}")
            return response.read_all(outline.LARGEST_BYTES)

    def part(self, repository: str, digest: str, start: int, stop: int) -> Generator[bytes, None, None]:
        """The bytes [start, stop) of a blob in pieces of up to 1 MiB; the caller checks them.

        Raises `NotInRegistry`, `RegistryFailed`, `Unreachable`.
        """
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        path = f"/v2/{repository}/blobs/{digest}"
        with self._call("GET", path, scope=_pull(repository), headers=headers) as response:
            self._expect(response, f"blob {digest}")
            if response.status != 206 or _range_start(response, start) != start:
                raise RegistryFailed(f"{self.host} sends no ranges of blobs")
            left = stop - start
            while left and (piece := response.read(min(PIECE_BYTES, left))):
                left -= len(piece)
                yield piece
            if left:
                raise http.Unreachable(f"blob {digest} ended early", EOFError(), why=f"{left} bytes are missing")

    def small_blob(self, repository: str, descriptor: oci.Descriptor) -> bytes:
        """A configuration. Raises `WrongContent`."""
        content = b"".join(self.blob(repository, descriptor))
        if Digest.of(content, Digest.parse(descriptor.digest).algorithm) != descriptor.digest:
            raise WrongContent(f"config verification failed for digest {descriptor.digest}")
        return content

    def blob(self, repository: str, descriptor: oci.Descriptor) -> Iterator[bytes]:
        """The blob in pieces of up to 1 MiB, exactly `descriptor.size` bytes; the caller checks the digest.

        A broken connection is resumed by `Range` where it broke. Raises `NotInRegistry`, `WrongContent`, `Unreachable`.
        """
        received, failures = 0, 0
        while received < descriptor.size:
            before = received
            try:
                for piece in self._blob_from(repository, descriptor, received):
                    received += len(piece)
                    yield piece
                if received < descriptor.size:
                    raise http.Unreachable(
                        f"blob {descriptor.digest} ended early",
                        EOFError(),
                        why=f"{received} of {descriptor.size} bytes",
                    )
            except http.Unreachable:
                failures = 1 if received > before else failures + 1
                if failures > MOST_RETRIES:
                    raise

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the registry has the blob in this repository."""
        with self._call("HEAD", f"/v2/{repository}/blobs/{digest}", scope=_push(repository)) as response:
            if response.status == 404:
                return False
            self._expect(response, f"blob {digest}")
            return True

    def start_upload(self, repository: str, *, mount: str = "", source: str = "") -> str | None:
        """Begin an upload; returns its URL, or None if the registry mounted `mount` (from `source`) instead."""
        query = urllib.parse.urlencode({name: value for name, value in (("mount", mount), ("from", source)) if value})
        path = f"/v2/{repository}/blobs/uploads/" + (f"?{query}" if query else "")
        scope = _push(repository) + (f" {_pull(source)}" if source else "")
        with self._call("POST", path, scope=scope, headers={"Content-Length": "0"}, body=b"") as response:
            self._expect(response, f"upload to {repository}")
            if response.status == 201:
                return None
            return self._location(response)

    def upload(self, repository: str, url: str, digest: str, size_bytes: int, pieces: Iterable[bytes]) -> None:
        """Send a blob to the URL that `start_upload` gave, in one request."""
        joint = "&" if "?" in url else "?"
        target = f"{url}{joint}{urllib.parse.urlencode({'digest': digest})}"
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        body: bytes | Iterator[bytes] = iter(pieces) if size_bytes else b""
        with self._call("PUT", target, scope=_push(repository), headers=headers, body=body) as response:
            self._expect(response, f"blob {digest}")

    def put_manifest(self, repository: str, version: str, content: bytes, media_type: str) -> None:
        """Store a manifest under a tag or its digest."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(content))}
        path = f"/v2/{repository}/manifests/{version}"
        with self._call("PUT", path, scope=_push(repository), headers=headers, body=content) as response:
            self._expect(response, f"manifest {version}")

    def _blob_from(self, repository: str, descriptor: oci.Descriptor, start: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        path = f"/v2/{repository}/blobs/{descriptor.digest}"
        with self._call("GET", path, scope=_pull(repository), headers=headers) as response:
            self._expect(response, f"blob {descriptor.digest}")
            skip = start
            if response.status == 206:
                skip = start - _range_start(response, start)
            position = start - skip
            while piece := response.read(min(PIECE_BYTES, descriptor.size + 1 - position)):
                position += len(piece)
                if position > descriptor.size:
                    raise WrongContent(f"blob {descriptor.digest} is longer than {descriptor.size} bytes")
                if skip:  # the registry does not know ranges: pass over what we have
                    taken = min(skip, len(piece))
                    skip, piece = skip - taken, piece[taken:]
                if piece:
                    yield piece

    def _call(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> http.Response:
        """One request with redirects followed and, once, a challenge answered. `path` may be a URL of this registry."""
        url = path if "://" in path else self._base() + path
        sent = dict(headers or {})
        response = self._follow(method, url, self._authorized(url, scope, sent), body)
        if response.status != 401 or isinstance(body, Iterator):
            return response
        with response:
            header = response.headers.get("www-authenticate", "")
            response.read_all(LARGEST_ANSWER_BYTES)
        self._session.authorization[scope] = self._answer(challenge.parse(header), scope)
        return self._follow(method, url, self._authorized(url, scope, sent), body)

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Iterator[bytes] | None
    ) -> http.Response:
        sent = dict(headers)
        for _ in range(MOST_REDIRECTS):
            response = self._http.request(method, url, {"User-Agent": self._settings.user_agent, **sent}, body)
            if response.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return response
            with response:
                target = urllib.parse.urljoin(url, response.headers.get("location", ""))
                response.read(LARGEST_ANSWER_BYTES)
            if http.Origin.of(target) != http.Origin.of(url):
                if http.Origin.of(target).scheme == "http" and http.Origin.of(url).scheme == "https":
                    raise RegistryFailed(
                        f"{self.host} redirects from https to {target[:200]}", why="that is not encrypted"
                    )
                sent = {name: value for name, value in sent.items() if name not in _SECRET_HEADERS}
            url = target
        raise RegistryFailed(f"{self.host} redirects more than {MOST_REDIRECTS} times")

    def _authorized(self, url: str, scope: str, headers: Mapping[str, str]) -> dict[str, str]:
        if http.Origin.of(url) != http.Origin.of(self._base()):
            return dict(headers)
        known = self._session.authorization.get(scope)
        secret = self._settings.own_registry.get(self.host)
        return {
            **headers,
            **({"Authorization": known} if known else {}),
            **({endpoints.ENGINE_HEADER: secret} if secret else {}),
        }

    def _base(self) -> str:
        """Scheme and host that answer: https first where both are allowed, as Docker does."""
        with self._session.lock:
            if not self._session.base:
                self._session.base = self._probe()
            return self._session.base

    def _probe(self) -> str:
        candidates = self._choice.bases
        for base in candidates[:-1]:
            try:
                with self._http.request("GET", f"{base}/v2/", {"User-Agent": self._settings.user_agent}) as response:
                    response.read(LARGEST_ANSWER_BYTES)
                    return base
            except http.Unreachable as error:
                if isinstance(error.reason, ConnectionRefusedError | ssl.SSLCertVerificationError):
                    raise _as_http(error, base, candidates[-1]) from error
        return candidates[-1]

    def _answer(self, asked: challenge.Challenge, scope: str) -> str:
        if asked.scheme == "basic":
            if not self._credentials.username:
                raise LoginNeeded("no basic auth credentials", remedy=f"log in by: docker login {self.host}")
            return challenge.basic(self._credentials)
        if asked.scheme != "bearer":
            raise LoginNeeded(f"{self.host} asks for a login by {asked.scheme or 'no scheme'!r}")
        return f"Bearer {self._token(asked, scope or asked.parameters.get('scope', ''))}"

    def _token(self, asked: challenge.Challenge, scope: str) -> str:
        realm = asked.parameters.get("realm", "")
        challenge.check_realm(
            realm, self._base(), with_credentials=bool(self._credentials), known=self._settings.token_servers
        )
        with self._request_token(asked, scope) as response:
            content = response.read_all(LARGEST_ANSWER_BYTES)
            if response.status in (400, 401, 403):
                raise LoginNeeded(
                    f"unauthorized: {_error_text(content) or 'incorrect username or password'}",
                    remedy=f"log in by: docker login {self.host}",
                )
            if response.status != 200:
                raise RegistryFailed(f"the token server of {self.host} answered {response.status}")
        document = oci.decode_object(content)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token or not token.isprintable():
            raise RegistryFailed(f"the token server of {self.host} sent no token")
        return token

    def _request_token(self, asked: challenge.Challenge, scope: str) -> http.Response:
        headers = {"User-Agent": self._settings.user_agent}
        if self._credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": asked.parameters.get("service", ""),
                "client_id": "sampan",
                "scope": scope,
                "refresh_token": self._credentials.identity_token,
            }
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(form).encode()
            return self._http.request("POST", asked.parameters.get("realm", ""), headers, body)
        if self._credentials.username:
            headers["Authorization"] = challenge.basic(self._credentials)
        url = challenge.token_url(asked, scope, self._credentials.username)
        return self._http.request("GET", url, headers)

    def _location(self, response: http.Response) -> str:
        location = response.headers.get("location", "")
        if not location:
            raise RegistryFailed(f"{self.host} began an upload without saying where")
        url = urllib.parse.urljoin(response.url, location)
        target, own = http.Origin.of(url), http.Origin.of(self._base())
        if target.host == own.host and target.scheme != own.scheme:  # a registry that does not know of its TLS front
            parts = urllib.parse.urlsplit(url)
            return f"{self._base()}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        if own.scheme == "https" and target.scheme == "http":
            raise RegistryFailed(f"{self.host} wants the upload sent to {url[:200]}", why="that is not encrypted")
        return url

    def _expect(self, response: http.Response, what: str, *, reference: Reference | None = None) -> None:
        if response.status in _OK:
            return
        content = response.read_all(LARGEST_ANSWER_BYTES)
        raise failure(response.status, _error_text(content), what, reference=reference)


_SECRET_HEADERS = ("Authorization", endpoints.ENGINE_HEADER)


def failure(status: int, text: str, what: str, *, reference: Reference | None = None) -> errors.SampanError:
    """The error for a refused request, in Docker's words. `reference` is given when a manifest was asked for."""
    if status == 401 or (status == 403 and reference is not None):
        denied = text or "requested access to the resource is denied"
        if reference is not None:
            return PullDenied(
                f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
                f"'docker login': {denied}"
            )
        return LoginNeeded(text or "unauthorized: authentication required", remedy="log in by: docker login")
    if status == 403:
        return PushDenied(text or "denied: requested access to the resource is denied")
    if status == 404 and reference is not None:
        if text.startswith("name unknown"):
            return NotInRegistry(f"repository {reference.familiar_name} not found: {text}")
        return NotInRegistry(
            f"manifest for {reference.familiar} not found: {text or 'manifest unknown: manifest unknown'}"
        )
    if status == 404:
        return NotInRegistry(f"{what} not found: {text or 'blob unknown: blob unknown to registry'}")
    if status == 429:
        return RegistryFailed(f"toomanyrequests: {text or 'the registry limits requests'}", remedy="try again later")
    if 400 <= status < 500:
        return errors.Invalid(f"{what}: {text or 'the registry refused the request'}", why=f"status {status}")
    return RegistryFailed(f"{what}: received unexpected HTTP status: {status}", why=text)


def _error_text(content: bytes) -> str:
    """`code: message` of the first error of a registry's error document, `""` for anything else."""
    try:
        document = json.loads(content)
        first = document["errors"][0]
        code, message = str(first["code"]), str(first.get("message") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return ""
    return f"{code.lower().replace('_', ' ')}: {message}"[:1000]


def _range_start(response: http.Response, asked: int) -> int:
    """The offset at which a partial answer begins. Raises `RegistryFailed` if it leaves a gap."""
    header = response.headers.get("content-range", "")
    first = header.removeprefix("bytes ").partition("-")[0]
    if not first.isdigit() or int(first) > asked:
        raise RegistryFailed(f"asked from byte {asked} on, the registry sent {header!r}")
    return int(first)


def _as_http(error: http.Unreachable, base: str, fallback: str) -> http.Unreachable:
    return http.Unreachable(error.what.replace(base, fallback), error.reason, why=error.why, remedy=error.remedy)


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _push(repository: str) -> str:
    return f"repository:{repository}:pull,push"
