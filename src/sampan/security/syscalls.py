"""Which system calls a container may make: an allow list, by what the calls are for.

The default answer is EPERM. Calls that reach beyond the container need the capability that governs them; calls that
programs probe for and can do without are answered ENOSYS, so that they fall back (`clone3`: its flags lie in memory,
where a filter cannot see them). Names a kernel or libseccomp does not know are ignored by the runtime.

Source: the calls themselves, syscalls(2); what dockerd's default profile allows is the yardstick for compatibility.
"""

from __future__ import annotations

FILES = (
    "access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 "
    "fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock "
    "fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr getxattrat "
    "lchown lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat memfd_create "
    "mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 "
    "pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename renameat "
    "renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx symlink symlinkat sync sync_file_range "
    "syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev ustat inotify_add_watch "
    "inotify_init inotify_init1 inotify_rm_watch fanotify_mark cachestat statmount listmount"
)
MEMORY = (
    "brk madvise map_shadow_stack membarrier memfd_secret mincore mlock mlock2 mlockall mmap mprotect "
    "mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease "
    "remap_file_pages shmat shmctl shmdt shmget"
)
PROCESSES = (
    "alarm arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu "
    "getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid getrlimit "
    "getrusage getsid gettid getuid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset "
    "landlock_restrict_self modify_ldt pidfd_open pidfd_send_signal prctl prlimit64 rseq sched_get_priority_max "
    "sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval "
    "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list "
    "set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid "
    "setresuid setreuid setrlimit setsid setuid sysinfo tgkill times tkill uname vfork wait4 waitid ptrace "
    "process_vm_readv process_vm_writev"
)
SIGNALS_AND_TIME = (
    "clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause "
    "restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend "
    "rt_sigtimedwait rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime adjtimex "
    "clock_adjtime"
)
WAITING = (
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd "
    "eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake io_cancel io_destroy io_getevents io_pgetevents "
    "io_setup io_submit ioctl poll ppoll pselect6 select"
)
SOCKETS = (
    "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg "
    "sendto setsockopt shutdown socketpair"
)
MESSAGES = (
    "mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget "
    "semop semtimedop getrandom"
)

ALWAYS = tuple(" ".join((FILES, MEMORY, PROCESSES, SIGNALS_AND_TIME, WAITING, SOCKETS, MESSAGES)).split())

# capability -> the calls it governs
GOVERNED: dict[str, tuple[str, ...]] = {
    "SYS_ADMIN": (
        *("bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie"),
        *("lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr", "move_mount"),
        *("open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns"),
        *("syslog", "umount", "umount2", "unshare"),
    ),
    "SYS_CHROOT": ("chroot",),
    "SYS_BOOT": ("reboot",),
    "SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "SYS_PACCT": ("acct",),
    "SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise"),
    "SYS_RAWIO": ("iopl", "ioperm"),
    "SYS_TIME": ("clock_settime", "settimeofday", "stime"),
    "SYS_TTY_CONFIG": ("vhangup",),
    "SYS_NICE": ("get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy", "set_mempolicy_home_node"),
    "SYSLOG": ("syslog",),
    "BPF": ("bpf",),
    "PERFMON": ("perf_event_open",),
    "DAC_READ_SEARCH": ("open_by_handle_at",),
}

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET. Source: include/uapi/linux/sched.h
NAMESPACE_FLAGS = 0x7E020000
# personality(2): Linux, Linux with 32-bit addresses, the same two without address randomisation, and "tell me".
PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
AF_VSOCK = 40  # reaches the hypervisor past every network namespace
ENOSYS = 38
EPERM = 1
