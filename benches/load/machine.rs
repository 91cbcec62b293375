//! The machine that the figures are from, and what processes on it have used.

use anyhow::Context as _;
use serde_json::{Value, json};
use std::fs;

/// What somebody needs to know to compare.
pub(crate) fn describe() -> Value {
    let of = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let one_line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "cpu": of("/proc/cpuinfo", "model name"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": of("/proc/meminfo", "MemTotal"),
        "kernel": one_line("/proc/sys/kernel/osrelease"),
        "load": one_line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
    })
}

/// How long this thread has been on a processor, in seconds.
///
/// # Errors
/// Where there is no Linux.
pub(crate) fn thread_seconds() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("/proc is not Linux's")?;
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse::<f64>().ok());
    Ok(nanoseconds.context("schedstat has another form")? / 1e9)
}

/// How long a process has been on processors, in seconds: all its threads together.
///
/// # Errors
/// When the process is gone.
pub(crate) fn process_seconds(process: u32) -> anyhow::Result<f64> {
    let text =
        fs::read_to_string(format!("/proc/{process}/stat")).context("the process is gone")?;
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|text| text.parse::<f64>().ok()).sum();
    // Linux counts in hundredths of a second for whoever asks, whatever its own clock (proc_pid_stat(5)).
    Ok(ticks / 100.0)
}

/// A process's memory: resident now, and at its highest, in MiB.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory(process: u32) -> anyhow::Result<(f64, f64)> {
    let text =
        fs::read_to_string(format!("/proc/{process}/status")).context("the process is gone")?;
    let of = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    let both = of("VmRSS:").zip(of("VmHWM:")).context("status has another form")?;
    Ok((both.0 / 1024.0, both.1 / 1024.0))
}
