//! The program that shims execute is out of every container's reach (CVE-2019-5736).

use crate::world::{SHIM, Which, World, both, in_time};
use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// Opens in every way that could change the file; says how each ended, and how many bytes it could read.
const ATTACK: &str = "cat /proc/1/exe | wc -c
(: > /proc/1/exe) 2>&1
(: >> /proc/1/exe) 2>&1
(: 1<> /proc/1/exe) 2>&1
exec 3< /proc/1/exe
(: > /proc/self/fd/3) 2>&1
(: >> /proc/self/fd/3) 2>&1
echo done";

/// With `--init` and no such file on the host the first process executes our own text for the container's
/// whole life; who may trace it sees its file.
#[tokio::test]
async fn a_container_cannot_write_to_the_program_it_came_from() {
    let mut world = World::new(Which::Embedded);
    world.spec["annotations"][ocispec::INIT_ANNOTATION] = "true".into();
    for set in ["bounding", "effective", "permitted"] {
        let set = world.spec["process"]["capabilities"][set].as_array_mut().unwrap();
        set.push("CAP_SYS_PTRACE".into());
    }
    let before = fs::read(SHIM).unwrap();
    in_time(async {
        let (code, said) = world.output_of(&["sh", "-c", ATTACK]).await;
        assert_eq!(code, 0, "{said}");
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let [size, first, .., last] = lines[..] else { panic!("{said}") };
        // It did reach the file: otherwise its failures would prove nothing.
        assert_eq!((size, last), (before.len().to_string().as_str(), "done"), "{said}");
        let refused = |line: &str| {
            ["Read-only file system", "Text file busy"].iter().any(|why| line.ends_with(why))
        };
        assert!(lines[1..6].iter().all(|line| refused(line)) && lines.len() == 7, "{said}");
        // Asked to empty it, the kernel looks at the mount before it looks who executes the file.
        assert!(first.ends_with("Read-only file system"), "{said}");
    })
    .await;
    assert!(fs::read(SHIM).unwrap() == before, "the program was changed");
}

both! {
async fn a_shim_executes_a_read_only_view_of_the_program(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let proc = PathBuf::from(format!("/proc/{}", world.shim_pid()));
    let opened = fs::File::options().write(true).custom_flags(libc::O_TRUNC).open(proc.join("exe"));
    assert_eq!(opened.err().and_then(|err| err.raw_os_error()), Some(libc::EROFS));
    // One inode: all shims and the daemon share its pages.
    let key = |path: PathBuf| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let program = key(SHIM.into()).unwrap();
    assert_eq!(key(proc.join("exe")).unwrap(), program);
    assert!(fs::read(proc.join("cmdline")).unwrap().starts_with(b"sampan-shim\0"));
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap(), "sampan-shim\n");
    // Neither the shim nor the container has got the descriptor that it was executed through.
    for dir in [proc.join("fd"), PathBuf::from(format!("/proc/{}/fd", shim.pid()))] {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            assert_ne!(key(entry.path()).ok(), Some(program), "{}", entry.path().display());
        }
    }
    shim.delete().await.unwrap();
}
}
