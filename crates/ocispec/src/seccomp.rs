//! Seccomp: Docker's default profile as a table, and profiles in Docker's JSON form.
//!
//! The default answers EPERM to every system call that is not named here. Some are allowed only with a
//! capability, some only on an architecture; `clone` only without new namespaces, and `clone3` answers
//! ENOSYS, so that libraries fall back to `clone`, whose flags a filter can see.

use crate::error::SpecError;
use serde_json::{Map, Value, json};

/// Always allowed.
const ALLOWED: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod \
chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old \
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate \
ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd \
getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid \
getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid \
gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 \
inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get \
ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self \
lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek \
lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret \
mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify \
mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal \
msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat \
_newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 \
pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg \
recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity \
sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler \
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send \
sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 \
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid \
setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area \
set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack \
signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 \
statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create \
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice \
wait4 waitid waitpid write writev process_vm_readv process_vm_writev ptrace";

/// Allowed with a capability.
const WITH_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Allowed on an architecture.
const ON_ARCH: [(&[&str], &str); 6] = [
    (&["x86_64"], "arch_prctl modify_ldt"),
    (&["x86"], "modify_ldt"),
    (
        &["arm", "aarch64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (&["powerpc64"], "sync_file_range2 swapcontext"),
    (&["s390x"], "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    (&["riscv64"], "riscv_flush_icache"),
];

/// What `personality` may be asked for: Linux, 32-bit, their variants, and the present one.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_VSOCK: u64 = 40;
/// `CLONE_NEW*` of every namespace but time's, which clone cannot make.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// The OCI filter for a container: `asked` as in [`crate::Security`]. `None` runs unfiltered.
pub(crate) fn profile(
    asked: Option<&str>,
    caps: &[String],
    arch: &str,
) -> Result<Option<Value>, SpecError> {
    match asked {
        Some("unconfined") => Ok(None),
        Some(json) => parse(json, caps, arch).map(Some),
        None => Ok(Some(default(caps, arch))),
    }
}

fn default(caps: &[String], arch: &str) -> Value {
    let has = |name: &str| caps.iter().any(|cap| cap == name);
    let mut rules = vec![allow(ALLOWED)];
    rules.push(allow_if("socket", 0, AF_VSOCK, None, "SCMP_CMP_NE"));
    rules.extend(PERSONALITIES.map(|p| allow_if("personality", 0, p, None, "SCMP_CMP_EQ")));
    let (with, without): (Vec<_>, Vec<_>) =
        WITH_CAPABILITY.into_iter().partition(|(cap, _)| has(cap));
    rules.extend(with.into_iter().map(|(_, names)| allow(names)));
    if without.iter().any(|(cap, _)| *cap == "CAP_SYS_ADMIN") {
        // On s390 the flags are the second argument.
        let flags = if arch == "s390x" { 1 } else { 0 };
        rules.push(allow_if("clone", flags, CLONE_NAMESPACES, Some(0), "SCMP_CMP_MASKED_EQ"));
        let action = "SCMP_ACT_ERRNO";
        rules.push(json!({ "names": ["clone3"], "action": action, "errnoRet": ENOSYS }));
    }
    let here = ON_ARCH.into_iter().filter(|(arches, _)| arches.contains(&arch));
    rules.extend(here.map(|(_, names)| allow(names)));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(arch),
        "syscalls": rules,
    })
}

/// The native architecture and those whose programs it runs too.
fn architectures(arch: &str) -> &'static [&'static str] {
    match arch {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "s390x" => &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        "powerpc64" => &["SCMP_ARCH_PPC64LE"],
        _ => &[],
    }
}

fn allow(names: &str) -> Value {
    let names: Vec<&str> = names.split_whitespace().collect();
    json!({ "names": names, "action": "SCMP_ACT_ALLOW" })
}

fn allow_if(name: &str, index: u32, value: u64, value_two: Option<u64>, op: &str) -> Value {
    let mut arg = json!({ "index": index, "value": value, "op": op });
    if let Some(two) = value_two {
        arg["valueTwo"] = two.into();
    }
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [arg] })
}

/// A profile in Docker's form: OCI's, and `archMap`, `includes`, `excludes` and single `name`s besides.
fn parse(json: &str, caps: &[String], arch: &str) -> Result<Value, SpecError> {
    let mut profile: Map<String, Value> =
        serde_json::from_str(json).map_err(SpecError::SeccompProfile)?;
    if let Some(map) = profile.remove("archMap") {
        profile.insert("architectures".to_owned(), mapped(&map, arch));
    }
    let rules = match profile.remove("syscalls") {
        Some(Value::Array(rules)) => rules,
        _ => Vec::new(),
    };
    let kept: Vec<Value> =
        rules.into_iter().filter(|rule| applies(rule, caps, arch)).map(plain).collect();
    profile.insert("syscalls".to_owned(), kept.into());
    Ok(Value::Object(profile))
}

fn mapped(map: &Value, arch: &str) -> Value {
    let native = architectures(arch).first().copied().unwrap_or_default();
    let entry = map.as_array().into_iter().flatten().find(|entry| entry["architecture"] == native);
    let subs = entry.and_then(|entry| entry["subArchitectures"].as_array()).cloned();
    let mut all = vec![Value::from(native)];
    all.extend(subs.unwrap_or_default());
    all.into()
}

fn applies(rule: &Value, caps: &[String], arch: &str) -> bool {
    let names = |side: &str, what: &str| -> Vec<String> {
        let list = rule[side][what].as_array();
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let go = go_arch(arch);
    let included = names("includes", "caps").iter().all(|cap| caps.contains(cap)) && {
        let arches = names("includes", "arches");
        arches.is_empty() || arches.iter().any(|a| a == go)
    };
    let excluded = names("excludes", "caps").iter().any(|cap| caps.contains(cap))
        || names("excludes", "arches").iter().any(|a| a == go);
    included && !excluded
}

/// A rule without what only Docker knows.
fn plain(mut rule: Value) -> Value {
    let Some(fields) = rule.as_object_mut() else { return rule };
    for extra in ["includes", "excludes", "comment"] {
        fields.remove(extra);
    }
    if let Some(name) = fields.remove("name").filter(|name| name != "") {
        fields.insert("names".to_owned(), json!([name]));
    }
    fields.retain(|_, value| !value.is_null());
    rule
}

fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_for<'a>(profile: &'a Value, name: &str) -> Vec<&'a Value> {
        let rules = profile["syscalls"].as_array().unwrap();
        rules.iter().filter(|r| r["names"].as_array().unwrap().contains(&name.into())).collect()
    }

    #[test]
    fn clone_is_conditional_and_clone3_unknown_without_sys_admin() {
        let profile = default(&[], "x86_64");
        assert_eq!(rules_for(&profile, "clone")[0]["args"][0]["value"], json!(CLONE_NAMESPACES));
        assert_eq!(rules_for(&profile, "clone3")[0]["errnoRet"], json!(ENOSYS));
        assert!(rules_for(&profile, "mount").is_empty());
        assert!(rules_for(&profile, "io_uring_setup").is_empty());
    }

    #[test]
    fn a_capability_opens_its_calls() {
        let profile = default(&["CAP_SYS_ADMIN".to_owned()], "x86_64");
        assert_eq!(rules_for(&profile, "clone")[0].get("args"), None);
        assert_eq!(rules_for(&profile, "clone3")[0]["action"], "SCMP_ACT_ALLOW");
        assert_eq!(rules_for(&profile, "mount").len(), 1);
    }

    #[test]
    fn dockers_own_form_is_reduced_to_ocis() {
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64",
            "subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[
            {"name":"mkdir","action":"SCMP_ACT_ERRNO","args":null},
            {"names":["chroot"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_SYS_CHROOT"]}},
            {"names":["acct"],"action":"SCMP_ACT_ERRNO","excludes":{"arches":["amd64"]}}]}"#;
        let profile = parse(json, &[], "x86_64").unwrap();
        assert_eq!(profile["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        let rules = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]);
        assert_eq!(profile["syscalls"], rules);
    }
}
