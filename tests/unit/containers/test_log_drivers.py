"""Log drivers: which options there are, what tags and lines look like, and what is put in front of lines."""

import pytest

from sampan import errors
from sampan.containers import wanted
from sampan.containers.logdrivers import lines, options, tags
from sampan.containers.logdrivers.lines import Assembler, Line
from sampan.containers.logdrivers.options import Address, Files
from sampan.containers.model import Container, Phase, State
from sampan.containers.wanted import LogConfig
from sampan.formats import logshape, stdcopy


def container(**body: object) -> Container:
    item = wanted.decode_create({"Image": "web:1", "Entrypoint": ["sh"], "Cmd": ["-c", "x"], **body})
    return Container("ab" * 32, "front", "sha256:" + "cd" * 32, Phase.RUNNING, item, State(), 1)


@pytest.mark.parametrize(
    ("driver", "given"),
    [
        ("", {}),
        ("json-file", {"max-size": "10m", "max-file": "3", "compress": "true", "labels": "a,b", "env-regex": "^X"}),
        ("local", {"max-size": "1g", "mode": "non-blocking", "max-buffer-size": "4m"}),
        ("journald", {"tag": "{{.Name}}/{{.ID}}", "labels": "a", "cache-max-size": "1m"}),
        ("syslog", {"syslog-address": "tcp://log:601", "syslog-facility": "local3", "syslog-format": "rfc5424"}),
        ("none", {}),
    ],
)
def test_what_docker_takes_is_taken(driver: str, given: dict[str, str]) -> None:
    options.check(LogConfig(driver, given))


@pytest.mark.parametrize(
    ("driver", "given", "said"),
    [
        ("splunk", {}, 'plugin "splunk" not found'),
        ("json-file", {"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
        ("none", {"max-size": "1m"}, "unknown log opt"),
        ("json-file", {"max-size": "much"}, "invalid size"),
        ("json-file", {"max-file": "0"}, "max-file"),
        ("json-file", {"compress": "perhaps"}, "compress"),
        ("json-file", {"mode": "sometimes"}, "logging mode not supported"),
        ("json-file", {"max-buffer-size": "1m"}, "only supported with 'mode=non-blocking'"),
        ("json-file", {"labels-regex": "("}, "labels-regex"),
        ("journald", {"tag": "{{.Nobody}}"}, "no field Nobody"),
        ("journald", {"tag": "{{join . }}"}, "only fields"),
        ("syslog", {"syslog-address": "gopher://x"}, "unsupported scheme"),
        ("syslog", {"syslog-address": "udp://"}, "no host"),
        ("syslog", {"syslog-address": "unix://"}, "no path"),
        ("syslog", {"syslog-facility": "kitchen"}, "invalid syslog facility"),
        ("syslog", {"syslog-format": "rfc1"}, "Invalid syslog format"),
    ],
)
def test_what_cannot_be_meant_is_refused(driver: str, given: dict[str, str], said: str) -> None:
    with pytest.raises(errors.Invalid, match=said):
        options.check(LogConfig(driver, given))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Address("unixgram", path="/dev/log")),
        ("unix:///run/x", Address("unix", path="/run/x")),
        ("udp://10.0.0.1", Address("udp", "10.0.0.1", 514)),
        ("tcp+tls://log:1", Address("tcp+tls", "log", 1)),
    ],
)
def test_addresses_of_syslog(text: str, found: Address) -> None:
    assert options.address({"syslog-address": text}) == found


def test_how_much_is_kept() -> None:
    default = Files(0, 1)
    assert options.files(LogConfig(), default) == default
    assert options.files(LogConfig("json-file", {"max-size": "1k", "max-file": "4"}), default) == Files(1024, 4)
    assert options.files(LogConfig("local"), default) == Files(20 << 20, 5)
    assert options.files(LogConfig("syslog", {"cache-max-size": "1m"}), default) == Files(1 << 20, 5)
    assert not options.readable(LogConfig("none"))
    assert not options.readable(LogConfig("syslog", {"cache-disabled": "true"}))
    assert options.readable(LogConfig("syslog"))


@pytest.mark.parametrize(
    ("text", "size"), [("10m", 10 << 20), ("1.5k", 1536), ("512", 512), ("2GB", 2 << 30), ("1kib", 1024)]
)
def test_sizes(text: str, size: int) -> None:
    assert options.parse_size(text) == size


def test_labels_and_variables_go_with_every_line() -> None:
    config = container(Labels={"a": "1", "bb": "2", "c": "3"}, Env=["X1=x", "Y=y y"]).wanted.config
    wish = LogConfig("json-file", {"labels": "a,zz", "labels-regex": "^b", "env": "Y"})
    assert options.attributes(wish, config) == {"a": "1", "bb": "2", "Y": "y y"}
    assert options.details({"a": "1", "Y": "y y"}) == b"Y=y+y,a=1 "
    assert options.details({}) == b" "


def test_a_tag_names_the_container() -> None:
    item = container()
    assert tags.render(tags.DEFAULT, item) == "ab" * 6
    assert tags.render("{{.ImageName}}/{{ .Name }}-{{.ImageID}}", item) == f"web:1/front-{'cd' * 6}"
    assert tags.render("{{.Command}}", item) == "sh -c x"


def test_lines_are_put_together_across_frames_and_streams() -> None:
    assembler = Assembler()
    assert list(assembler.feed(10, 1, b"one\ntw")) == [Line(10, 1, b"one")]
    assert assembler.position_ns == 9  # "tw" began at 10: it is read again after a restart
    assert list(assembler.feed(20, 2, b"err\n")) == [Line(20, 2, b"err")]
    assert list(assembler.feed(30, 1, b"o\nthree")) == [Line(10, 1, b"two")]
    assert assembler.position_ns == 29
    assert list(assembler.flush()) == [Line(30, 1, b"three")]
    assert assembler.position_ns == 30


def test_long_lines_go_in_parts() -> None:
    assembler = Assembler()
    longest = lines.LONGEST_BYTES
    found = list(assembler.feed(1, 1, b"x" * (2 * longest + 5) + b"\n"))
    assert [(len(line.content), line.partial) for line in found] == [(longest, True), (longest, True), (5, False)]
    found = list(assembler.feed(2, 1, b"y" * (longest + 1)))
    assert [(len(line.content), line.partial) for line in found] == [(longest, True)]


def test_frames_with_their_times() -> None:
    buffer = stdcopy.frame(1, b"a\n") + stdcopy.frame(2, b"b\n")
    timed = logshape.Timed().shape(buffer, [5, 6], 0)
    assert list(lines.frames(timed)) == [(5, 1, b"a\n"), (6, 2, b"b\n")]


def test_details_stand_behind_the_time() -> None:
    shaper = logshape.Shaper(streams=(1, 2), timestamps=True, multiplexed=False, prefix=b"a=1 ")
    shaped = shaper.shape(stdcopy.frame(1, b"x\ny\n"), [0], 0)
    assert shaped == b"1970-01-01T00:00:00.000000000Z a=1 x\n1970-01-01T00:00:00.000000000Z a=1 y\n"
    plain = logshape.Shaper(streams=(1, 2), timestamps=False, multiplexed=False, prefix=b"a=1 ")
    assert plain.shape(stdcopy.frame(1, b"x\n"), [0], 0) == b"a=1 x\n"
