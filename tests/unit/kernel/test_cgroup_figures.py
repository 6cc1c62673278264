"""The counters of control groups of both versions, from files as the kernel writes them."""

from pathlib import Path

from sampan.kernel import cgroup_figures
from sampan.kernel.cgroup_figures import Blocks
from sampan.kernel.cgroups import Hierarchy


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    files = {
        "cpuacct/p/c/cpuacct.usage": "5000\n",
        "cpuacct/p/c/cpuacct.usage_percpu": "2000 3000 \n",
        "cpuacct/p/c/cpuacct.stat": "user 3\nsystem 2\n",
        "cpu/p/c/cpu.stat": "nr_periods 7\nnr_throttled 1\nthrottled_time 9\n",
        "memory/p/c/memory.usage_in_bytes": "4096\n",
        "memory/p/c/memory.max_usage_in_bytes": "8192\n",
        "memory/p/c/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/p/c/memory.failcnt": "0\n",
        "memory/p/c/memory.stat": "cache 10\ntotal_inactive_file 4\n",
        "blkio/p/c/blkio.throttle.io_service_bytes_recursive": "8:0 Read 512\n8:0 Total 512\nTotal 512\n",
        "pids/p/c/pids.current": "3\n",
        "pids/p/c/pids.max": "max\n",
    }
    write(tmp_path, files)
    found = cgroup_figures.read(Hierarchy(1, tmp_path, (), "p"), "c")
    assert (found.cpu_ns, found.cpu_each_ns) == (5000, (2000, 3000))
    assert (found.cpu_user_ns, found.cpu_kernel_ns) == (30_000_000, 20_000_000)
    assert (found.periods, found.throttled_periods, found.throttled_ns) == (7, 1, 9)
    assert (found.memory_bytes, found.memory_most_bytes, found.memory_limit_bytes) == (4096, 8192, None)
    assert found.memory == {"cache": 10, "total_inactive_file": 4}
    assert found.block_bytes == (Blocks(8, 0, "Read", 512), Blocks(8, 0, "Total", 512))
    assert (found.pids, found.pids_limit) == (3, None)


def test_version_2_has_one_folder(tmp_path: Path) -> None:
    files = {
        "p/c/cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 0\nthrottled_usec 4\n",
        "p/c/memory.current": "4096\n",
        "p/c/memory.max": "16384\n",
        "p/c/memory.stat": "anon 10\ninactive_file 4\n",
        "p/c/memory.events": "low 0\noom 2\noom_kill 1\n",
        "p/c/io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
        "p/c/pids.current": "3\n",
        "p/c/pids.max": "10\n",
    }
    write(tmp_path, files)
    found = cgroup_figures.read(Hierarchy(2, tmp_path, (tmp_path,), "p"), "c")
    assert (found.cpu_ns, found.cpu_user_ns, found.cpu_kernel_ns, found.throttled_ns) == (5000, 3000, 2000, 4000)
    assert (found.memory_bytes, found.memory_most_bytes, found.memory_limit_bytes) == (4096, None, 16384)
    assert found.memory_failures == 2
    assert found.block_bytes == (Blocks(8, 0, "read", 1), Blocks(8, 0, "write", 2))
    assert found.block_operations == (Blocks(8, 0, "read", 3), Blocks(8, 0, "write", 4))
    assert (found.pids, found.pids_limit) == (3, 10)


def test_a_group_that_is_gone_has_used_nothing(tmp_path: Path) -> None:
    for version in (1, 2):
        found = cgroup_figures.read(Hierarchy(version, tmp_path, (), "p"), "gone")
        assert (found.cpu_ns, found.memory_bytes, found.pids, found.block_bytes) == (0, 0, 0, ())


def test_a_group_with_an_absolute_name_lies_elsewhere(tmp_path: Path) -> None:
    hierarchy = Hierarchy(2, tmp_path, (tmp_path,), "p")
    assert list(hierarchy.paths("c")) == [tmp_path / "p/c"]
    assert list(hierarchy.paths("/mine/c")) == [tmp_path / "mine/c"]
    assert Hierarchy(1, tmp_path, (), "p").controller("memory", "/mine/c") == tmp_path / "memory/mine/c"


def test_all_processor_time_counts_for_the_machine() -> None:
    assert cgroup_figures.system_cpu_ns("cpu  1 2 3 4 5 6 7 100 100 100\ncpu0 1\n") == 28 * 10_000_000
