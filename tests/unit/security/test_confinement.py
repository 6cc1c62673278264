"""Options become a confinement; the filter lets programs work and keeps what reaches beyond the container."""

import json

import pytest

from sampan.security import confinement, seccomp, syscalls
from sampan.security.capabilities import DEFAULT, NAMES
from sampan.security.confinement import Confinement, SecurityOptionInvalid

BOUNDING = frozenset(NAMES)


def confine(*options: str, privileged: bool = False, cap_add: tuple[str, ...] = ()) -> Confinement:
    return confinement.confine(
        privileged=privileged,
        cap_add=cap_add,
        cap_drop=(),
        security_opt=options,
        bounding=BOUNDING,
        machine="x86_64",
    )


def allowed(profile: dict[str, object]) -> set[str]:
    rules = profile["syscalls"]
    assert isinstance(rules, list)
    return {
        name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args") for name in rule["names"]
    }


def test_a_plain_container_is_filtered_and_hides_the_hosts_secrets() -> None:
    plain = confine()
    assert plain.seccomp is not None
    assert "/proc/kcore" in plain.masked_paths
    assert "/proc/sys" in plain.readonly_paths
    assert not plain.no_new_privileges


def test_privileged_lifts_everything() -> None:
    lifted = confine(privileged=True)
    assert (lifted.seccomp, lifted.masked_paths, lifted.readonly_paths) == (None, (), ())
    assert lifted.capabilities == BOUNDING
    assert lifted.all_devices


@pytest.mark.parametrize("option", ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"])
def test_no_new_privileges_has_three_spellings(option: str) -> None:
    assert confine(option).no_new_privileges


@pytest.mark.parametrize("option", ["seccomp=unconfined", "seccomp:unconfined"])
def test_seccomp_can_be_lifted_alone(option: str) -> None:
    lifted = confine(option)
    assert lifted.seccomp is None
    assert lifted.masked_paths


@pytest.mark.parametrize("option", ["nonsense", "no-new-privileges=perhaps", "seccomp={", 'seccomp={"x":1}'])
def test_a_wrong_option_is_refused(option: str) -> None:
    with pytest.raises(SecurityOptionInvalid):
        confine(option)


def test_a_profile_in_dockers_form_is_translated() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        ],
    }
    option = f"seccomp={json.dumps(document)}"
    without, with_admin = confine(option).seccomp, confine(option, cap_add=("SYS_ADMIN",)).seccomp
    assert without is not None and with_admin is not None
    assert allowed(without) == {"read"}
    assert allowed(with_admin) == {"read", "mount"}
    assert any(rule.get("errnoRet") == 38 for rule in without["syscalls"])


@pytest.mark.parametrize(
    ("capability", "call"),
    [("SYS_ADMIN", "mount"), ("SYS_ADMIN", "unshare"), ("SYS_MODULE", "init_module"), ("SYS_TIME", "settimeofday")],
)
def test_calls_that_reach_out_need_their_capability(capability: str, call: str) -> None:
    assert call not in allowed(seccomp.profile(DEFAULT, machine="x86_64"))
    assert call in allowed(seccomp.profile(DEFAULT | {capability}, machine="x86_64"))


@pytest.mark.parametrize(
    "call", ["kexec_load", "keyctl", "add_key", "io_uring_setup", "swapon", "pivot_root", "userfaultfd"]
)
def test_some_calls_are_for_nobody(call: str) -> None:
    assert call not in allowed(seccomp.profile(BOUNDING, machine="x86_64"))


def test_clone_may_not_make_namespaces_and_clone3_falls_back() -> None:
    rules = seccomp.profile(DEFAULT, machine="x86_64")["syscalls"]
    clone = next(rule for rule in rules if rule["names"] == ["clone"])
    assert clone["args"][0]["value"] == syscalls.NAMESPACE_FLAGS
    clone3 = next(rule for rule in rules if rule["names"] == ["clone3"])
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", syscalls.ENOSYS)


def test_no_name_stands_in_the_table_twice() -> None:
    assert len(syscalls.ALWAYS) == len(set(syscalls.ALWAYS))
