"""Who may see a registry's login, and over what connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.host import http
from sampan.images import challenge, client, endpoints, model


def test_a_challenge_is_read() -> None:
    header = 'Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull,push"'
    read = challenge.parse(header)
    assert read.scheme == "bearer"
    assert read.parameters == {
        "realm": "https://auth.example/token",
        "service": "a, b",
        "scope": "repository:x:pull,push",
    }
    assert challenge.parse("Basic realm=x").parameters == {"realm": "x"}
    assert challenge.parse("").scheme == ""


def test_a_token_url_has_what_the_challenge_says() -> None:
    read = challenge.parse('Bearer realm="https://a.example/token?x=1",service="s"')
    assert challenge.token_url(read, "repository:x:pull", "") == (
        "https://a.example/token?x=1&service=s&scope=repository%3Ax%3Apull"
    )


@pytest.mark.parametrize(
    ("realm", "registry"),
    [
        ("https://r.example/token", "https://r.example"),
        ("https://r.example:8443/token", "https://r.example:5000"),
        ("https://example.com/jwt/auth", "https://registry.example.com"),
        ("https://auth.docker.io/token", "https://registry-1.docker.io"),
        ("https://known.example/token", "https://named.example"),
        ("http://127.0.0.1:5000/token", "http://127.0.0.1:5000"),
    ],
)
def test_these_token_servers_may_see_a_password(realm: str, registry: str) -> None:
    challenge.check_realm(realm, registry, with_credentials=True, known={"named.example": "known.example"})


@pytest.mark.parametrize(
    ("realm", "registry"),
    [
        ("https://evil.example/token", "https://r.example"),
        ("https://r.example.evil.com/token", "https://r.example"),
        ("https://evilr.example/token", "https://r.example"),
        ("https://com/token", "https://registry.com"),
        ("http://r.example/token", "https://r.example"),
        ("http://169.254.169.254/token", "http://127.0.0.1:5000"),
        ("file:///etc/passwd", "https://r.example"),
        ("//r.example/token", "https://r.example"),
        ("", "https://r.example"),
    ],
)
def test_these_token_servers_may_not(realm: str, registry: str) -> None:
    with pytest.raises(challenge.RealmRefused):
        challenge.check_realm(realm, registry, with_credentials=True)


def test_anybody_may_be_asked_for_an_anonymous_token_if_encrypted() -> None:
    challenge.check_realm("https://other.example/token", "https://r.example", with_credentials=False)
    with pytest.raises(challenge.RealmRefused):
        challenge.check_realm("http://other.example/token", "https://r.example", with_credentials=False)


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("10.1.2.3:5000", True),
        ("10.2.2.3:5000", False),
        ("named:5000", True),
        ("named:5001", False),
        ("bare:1234", True),
        ("docker.io", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_plain_http_is_for_loopback_and_what_the_settings_name(host: str, insecure: bool) -> None:
    named = ("10.1.0.0/16", "named:5000", "bare", "not/a/network")
    assert endpoints.is_insecure(host, named) is insecure


def test_https_is_tried_first_and_alone_where_http_is_not_allowed() -> None:
    settings = endpoints.Settings(own_registry={"127.0.0.1:5000": "secret"})
    assert endpoints.choose("127.0.0.1:5000", settings).bases == ("http://127.0.0.1:5000",)
    assert endpoints.choose("localhost:1", settings).bases == ("https://localhost:1", "http://localhost:1")
    assert endpoints.choose("r.example", settings) == endpoints.Choice(("https://r.example",), verify=True)
    assert endpoints.choose("docker.io", settings).bases == ("https://registry-1.docker.io",)


def test_certificates_are_checked_unless_the_registry_is_insecure(tmp_path: Path) -> None:
    settings = endpoints.Settings(certs_directory=tmp_path)
    for host, origin, checked in [
        ("r.example", "https://r.example", True),
        ("localhost:1", "https://localhost:1", False),
        ("localhost:1", "https://elsewhere.example", True),
    ]:
        choice = endpoints.choose(host, settings)
        context = endpoints.tls_context(http.Origin.of(origin), host, choice, settings)
        assert context.check_hostname is checked


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://user@x/", "http://[", "http://x:99999/", "x"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(client.errors.Invalid):
        http.Origin.of(url)


def test_a_password_is_not_printed() -> None:
    assert "hush" not in repr(model.Credentials("me", "hush", "hush"))
