//! How much memory the process has, and could have.

/// Memory that is in RAM now; none where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// Memory that could be taken without anything else being put out of RAM; none where the system does not tell. A
/// container may have less than the machine.
pub(crate) fn available_bytes() -> Option<u64> {
    let all = [of_machine(), of_container()];
    all.into_iter().flatten().min()
}

fn of_machine() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// By its control group, of version 2.
fn of_container() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let number = |text: &str| text.trim().parse::<u64>().ok();
    // Without a limit it is no number.
    let most = number(&read("memory.max")?)?;
    let used = number(&read("memory.current")?)?;
    // Of files that were read, which go when memory is wanted.
    let stat = read("memory.stat").unwrap_or_default();
    let files = stat
        .lines()
        .find_map(|it| it.strip_prefix("inactive_file "));
    let files = files.and_then(number).unwrap_or(0);
    Some(most.saturating_sub(used.saturating_sub(files)))
}
