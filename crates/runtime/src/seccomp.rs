//! Seccomp profiles to BPF, once per distinct profile: compiling costs some ten milliseconds, and both
//! start and exec would pay it.

use crate::error::RuntimeError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use std::io::{self, Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};

/// Distinct profiles kept: nearly every container has the default or one of a few capability variants.
const KEPT: usize = 8;

/// Compiled profiles, most recently used last.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Vec<(LinuxSeccomp, Arc<[u8]>)>>);

impl Cache {
    /// The filter for `profile`, compiled now if it is new.
    pub(crate) fn get(&self, profile: &LinuxSeccomp) -> Result<Arc<[u8]>, RuntimeError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| known == profile) {
            let entry = kept.remove(at);
            let bpf = entry.1.clone();
            kept.push(entry);
            return Ok(bpf);
        }
        let bpf: Arc<[u8]> = compile(profile).map_err(RuntimeError::Seccomp)?.into();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((profile.clone(), bpf.clone()));
        Ok(bpf)
    }
}

/// Why a profile gave no filter.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("libseccomp refused the profile")]
    Profile(#[from] libseccomp::error::SeccompError),
    #[error("failed to read back the filter")]
    Export(#[from] io::Error),
}

fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>, CompileError> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default)?;
    for arch in profile.architectures().iter().flatten() {
        filter.add_arch(scmp_arch(*arch))?;
    }
    // A binary tree of syscall numbers instead of a list: every syscall of the container is cheaper.
    filter.set_ctl_optimize(2)?;
    for rule in profile.syscalls().iter().flatten() {
        add(&mut filter, rule, default)?;
    }
    export(&filter)
}

/// Through an anonymous file: the installed libseccomp may be older than its export to memory.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, CompileError> {
    let fd = memfd_create(c"seccomp", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;
    let mut file = std::fs::File::from(fd);
    filter.export_bpf(&file)?;
    file.rewind()?;
    let mut bpf = Vec::new();
    file.read_to_end(&mut bpf)?;
    Ok(bpf)
}

fn add(
    filter: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    default: ScmpAction,
) -> Result<(), CompileError> {
    let action = action(rule.action(), rule.errno_ret());
    if action == default {
        return Ok(()); // libseccomp refuses a rule that says what the default says
    }
    for name in rule.names() {
        // Names this libseccomp does not know are skipped, as runc does: profiles are newer than it.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        match rule.args().as_deref() {
            None | Some([]) => filter.add_rule(action, syscall).map(drop)?,
            Some(args) => add_with_args(filter, action, syscall, args)?,
        }
    }
    Ok(())
}

/// Conditions on different arguments must all hold; libseccomp takes one per argument, so repeated ones
/// become rules of their own (alternatives), as in runc.
fn add_with_args(
    filter: &mut ScmpFilterContext,
    action: ScmpAction,
    syscall: ScmpSyscall,
    args: &[LinuxSeccompArg],
) -> Result<(), CompileError> {
    let repeated = args
        .iter()
        .enumerate()
        .any(|(at, arg)| args[..at].iter().any(|a| a.index() == arg.index()));
    let compared: Vec<ScmpArgCompare> = args.iter().map(compare).collect();
    if !repeated {
        filter.add_rule_conditional(action, syscall, &compared)?;
        return Ok(());
    }
    for one in compared {
        filter.add_rule_conditional(action, syscall, &[one])?;
    }
    Ok(())
}

fn compare(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(u32::try_from(arg.index()).unwrap_or(u32::MAX), op, datum)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.and_then(|errno| i32::try_from(errno).ok()).unwrap_or(libc::EPERM);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(u16::try_from(errno).unwrap_or(1)),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

fn scmp_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}
