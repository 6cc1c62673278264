"""A wish and an image become one configuration; what can never work is refused with Docker's words."""

import pytest

from sampan import errors
from sampan.containers import merging, wanted
from sampan.containers.wanted import Config, HostConfig, NetworkingConfig, Wanted
from sampan.images.model import Config as ImageConfig

IMAGE = ImageConfig(
    entrypoint=("/entry",),
    cmd=("serve",),
    env=("PATH=/bin", "LANG=C"),
    user="www",
    working_dir="/srv",
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    labels={"a": "image", "b": "image"},
    stop_signal="QUIT",
)


def merged(**fields: object) -> Config:
    return merging.merge(Config(**fields), IMAGE)  # type: ignore[arg-type]


def wish(config: Config | None = None, **host: object) -> Wanted:
    return Wanted(config or Config(cmd=["true"]), wanted.decode_host(host), NetworkingConfig())


@pytest.mark.parametrize(
    ("fields", "vector"),
    [
        ({}, ["/entry", "serve"]),
        ({"cmd": ["other"]}, ["/entry", "other"]),
        ({"entrypoint": ["/mine"]}, ["/mine"]),
        ({"entrypoint": ["/mine"], "cmd": ["x"]}, ["/mine", "x"]),
        ({"entrypoint": [""], "cmd": ["x"]}, ["x"]),
    ],
)
def test_entrypoint_and_command_follow_dockers_rules(fields: dict[str, object], vector: list[str]) -> None:
    result = merged(**fields)
    assert [*result.entrypoint, *result.cmd] == vector


def test_environment_labels_and_ports_add_up_and_the_client_wins() -> None:
    result = merged(env=["LANG=de", "X=1"], labels={"b": "mine"}, exposed_ports={"90/udp": {}})
    assert result.env == ["PATH=/bin", "LANG=de", "X=1"]
    assert result.labels == {"a": "image", "b": "mine"}
    assert set(result.exposed_ports) == {"80/tcp", "90/udp"}
    assert (result.user, result.working_dir, result.stop_signal) == ("www", "/srv", "QUIT")


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        (wish(Config()), "no command specified"),
        (wish(Config(cmd=["a\0b"])), "NUL"),
        (wish(Config(cmd=["a"], env=["=x"])), "no name"),
        (wish(Config(cmd=["a"], working_dir="srv")), "absolute"),
        (wish(Config(cmd=["a"], hostname="h" * 65)), "hostname"),
        (wish(Config(cmd=["a"], stop_signal="SIGNOPE")), "Invalid signal"),
        (wish(RestartPolicy={"Name": "sometimes"}), "unknown policy"),
        (wish(RestartPolicy={"Name": "always", "MaximumRetryCount": 3}), "only be used with 'on-failure'"),
        (wish(RestartPolicy={"Name": "always"}, AutoRemove=True), "AutoRemove"),
        (wish(PortBindings={"80/what": [{}]}), "invalid proto"),
        (wish(PortBindings={"80": [{"HostPort": "99999"}]}), "invalid port"),
        (wish(LogConfig={"Type": "pigeon"}), 'plugin "pigeon" not found'),
        (wish(Memory=1024), "6MB"),
        (wish(Memory=64 << 20, MemorySwap=32 << 20), "memoryswap"),
        (wish(NanoCpus=64 * 10**9), "only 2 CPUs"),
        (wish(NanoCpus=10**9, CpuQuota=5000), "cannot both be set"),
        (wish(CpusetCpus="2"), "not available - requested 2, available: 0-1"),
        (wish(CpusetCpus="0-x"), "for cpuset cpus"),
        (wish(OomScoreAdj=1001), "range for oom score adj"),
        (wish(CgroupParent="/a/../b"), "invalid cgroup parent"),
        (wish(BlkioWeightDevice=[{"Path": "/dev/sda", "Weight": 5}]), "from 10 to 1000"),
    ],
)
def test_what_can_never_run_is_refused(item: Wanted, complaint: str) -> None:
    with pytest.raises(errors.Invalid, match=complaint):
        merging.check(item, cpus=2)


def test_ports_in_host_mode_are_a_warning() -> None:
    assert merging.check(wish(NetworkMode="host", PortBindings={"80/tcp": [{}]}), cpus=2) != []


@pytest.mark.parametrize(
    ("text", "number"), [("9", 9), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+3", 37), ("SIGRTMIN", 34)]
)
def test_signals_have_many_names(text: str, number: int) -> None:
    assert merging.parse_signal(text) == number


def test_a_body_with_nulls_and_foreign_fields_is_read_like_dockerd_does() -> None:
    body = {
        "Image": "bb",
        "Cmd": None,
        "Env": None,
        "Entrypoint": "sh",
        "Unknown": 1,
        "HostConfig": {"Binds": None, "PortBindings": {"80/tcp": None}, "Memory": 0, "DNS": 3},
        "NetworkingConfig": {"EndpointsConfig": {"n": None}},
    }
    result = wanted.decode_create(body)
    assert (result.config.image, result.config.cmd, result.config.entrypoint) == ("bb", [], ["sh"])
    assert result.host == HostConfig()


def test_a_field_of_the_wrong_type_is_named() -> None:
    with pytest.raises(wanted.InvalidConfiguration, match="Memory"):
        wanted.decode_create({"HostConfig": {"Memory": "much"}})


def test_the_row_gives_back_what_was_wanted() -> None:
    item = wish(Config(cmd=["a"], healthcheck=wanted.Healthcheck(test=["CMD", "x"])), Binds=["/a:/b"])
    assert wanted.decode(wanted.encode(item)) == item
