use super::*;
use std::os::unix::fs::symlink;

/// A `/proc` with one process (pid 7) in a network of its own, on a machine with 1 GiB and two processors.
fn machine(dir: &Path) -> Sampler {
    let write = |path: &str, text: &str| write(dir, path, text);
    write("proc/stat", "cpu  100 0 50 1000 5 0 1 9 0 0\ncpu0 1 1\ncpu1 1 1\nintr 5\n");
    write("proc/meminfo", "MemTotal:        1048576 kB\nMemFree: 1 kB\n");
    write(
        "proc/7/net/dev",
        "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 646 7 1 2 0 0 0 0 100 3 4 5 0 0 0 0\n",
    );
    for (process, net) in [("7", "net:[2]"), ("self", "net:[1]")] {
        std::fs::create_dir_all(dir.join("proc").join(process).join("ns")).unwrap();
        symlink(net, dir.join("proc").join(process).join("ns/net")).unwrap();
    }
    Sampler::at(dir.join("cgroup"), dir.join("proc"))
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn version_1_is_read_from_its_controllers() {
    let dir = tempfile::tempdir().unwrap();
    let mut sampler = machine(dir.path());
    for (path, text) in [
        ("cpuacct/s/x/cpuacct.usage", "32645632\n"),
        ("cpuacct/s/x/cpuacct.usage_percpu", "18176455 14469177 \n"),
        ("cpuacct/s/x/cpuacct.stat", "user 3\nsystem 1\n"),
        ("cpu/s/x/cpu.stat", "nr_periods 4\nnr_throttled 2\nthrottled_time 99\n"),
        ("memory/s/x/memory.usage_in_bytes", "2572288\n"),
        ("memory/s/x/memory.max_usage_in_bytes", "4083712\n"),
        ("memory/s/x/memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory/s/x/memory.stat", "cache 5\ntotal_inactive_file 7\n"),
        ("pids/s/x/pids.current", "2\n"),
        ("pids/s/x/pids.max", "max\n"),
        ("blkio/s/x/blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\nTotal 4096\n"),
    ] {
        write(&dir.path().join("cgroup"), path, text);
    }
    let stats = sampler.sample("/s/x", 7).unwrap();
    let cpu = &stats.cpu_stats;
    assert_eq!(cpu.cpu_usage.percpu_usage, [18_176_455, 14_469_177]);
    assert_eq!(
        (cpu.cpu_usage.usage_in_usermode, cpu.cpu_usage.usage_in_kernelmode),
        (30_000_000, 10_000_000)
    );
    assert_eq!((cpu.system_cpu_usage, cpu.online_cpus), (11_560_000_000, 2));
    assert_eq!((cpu.throttling_data.periods, cpu.throttling_data.throttled_time), (4, 99));
    // No limit of its own: the machine's memory.
    assert_eq!((stats.memory_stats.usage, stats.memory_stats.limit), (2_572_288, 1 << 30));
    assert_eq!(stats.memory_stats.stats["total_inactive_file"], 7);
    assert_eq!((stats.pids_stats.current, stats.pids_stats.limit), (2, 0));
    let bytes = stats.blkio_stats.io_service_bytes_recursive.unwrap();
    assert_eq!((bytes.len(), bytes[0].op.as_str(), bytes[0].value), (1, "Read", 4096));
    assert_eq!(stats.networks.keys().collect::<Vec<_>>(), ["eth0"]);
    let eth0 = &stats.networks["eth0"];
    assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (646, 2, 100, 5));
}

#[test]
fn version_2_is_read_from_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut sampler = machine(dir.path());
    for (path, text) in [
        ("cgroup.controllers", "cpu io memory pids\n"),
        (
            "s/x/cpu.stat",
            "usage_usec 32\nuser_usec 20\nsystem_usec 12\nnr_periods 1\nthrottled_usec 3\n",
        ),
        ("s/x/memory.current", "1000\n"),
        ("s/x/memory.max", "67108864\n"),
        ("s/x/memory.stat", "inactive_file 7\n"),
        ("s/x/memory.events", "low 0\noom 3\n"),
        ("s/x/pids.current", "2\n"),
        ("s/x/pids.max", "max\n"),
        ("s/x/io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
    ] {
        write(&dir.path().join("cgroup"), path, text);
    }
    let stats = sampler.sample("/s/x", 7).unwrap();
    let usage = &stats.cpu_stats.cpu_usage;
    assert_eq!((usage.total_usage, usage.usage_in_kernelmode), (32_000, 12_000));
    assert_eq!(stats.cpu_stats.throttling_data.throttled_time, 3000);
    let memory = &stats.memory_stats;
    assert_eq!((memory.usage, memory.limit, memory.failcnt), (1000, 67_108_864, 3));
    assert_eq!(stats.pids_stats.limit, u64::MAX);
    let counts = stats.blkio_stats.io_serviced_recursive.unwrap();
    assert_eq!((counts[1].minor, counts[1].op.as_str(), counts[1].value), (16, "write", 4));
}

#[test]
fn a_process_that_is_gone_cannot_be_sampled() {
    let dir = tempfile::tempdir().unwrap();
    assert!(machine(dir.path()).sample("/s/x", 8).is_err());
}

#[test]
fn this_process_is_sampled_from_the_real_kernel() {
    let pid = i32::try_from(std::process::id()).unwrap();
    let first = sample("/", pid).unwrap();
    assert!(first.cpu_stats.online_cpus > 0 && first.cpu_stats.system_cpu_usage > 0);
    // It lives in our own network namespace.
    assert!(first.networks.is_empty());
    assert!(!first.read.is_zero());
}
