//! Why the agent is told to end: systemd does so when the service is restarted, and when the machine goes down.
//!
//! A restart of the service, as when it is replaced by another release, must send no pod away.

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The agent; another one starts, or a person wanted none.
    Service,
    /// The machine, which comes back with everything that it has.
    Reboot,
    /// The machine. It may come back, as after a stop from outside, but its volume may be another's by then.
    PowerOff,
}

/// What `systemctl list-jobs` says of it: one job per line, as `123 poweroff.target start waiting`.
pub fn ending(jobs: &str) -> Ending {
    let starts = |targets: &[&str]| {
        jobs.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.windows(2).any(|pair| targets.contains(&pair[0]) && pair[1] == "start")
        })
    };
    if starts(&["reboot.target", "kexec.target", "soft-reboot.target"]) {
        Ending::Reboot
    } else if starts(&["poweroff.target", "halt.target", "shutdown.target"]) {
        Ending::PowerOff
    } else {
        Ending::Service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_tell_a_restart_from_the_end() {
        let restart = "901 kcl-node-agent.service restart running\n";
        assert_eq!(ending(restart), Ending::Service);
        assert_eq!(ending(""), Ending::Service);
        assert_eq!(ending("No jobs running.\n"), Ending::Service);
        let off = "1200 poweroff.target                start waiting\n\
                   1201 shutdown.target                start waiting\n\
                   1300 kcl-node-agent.service         stop  running\n";
        assert_eq!(ending(off), Ending::PowerOff);
        assert_eq!(ending(&off.replace("poweroff", "halt")), Ending::PowerOff);
        assert_eq!(ending(&off.replace("poweroff", "reboot")), Ending::Reboot);
        assert_eq!(ending("7 poweroff.target stop waiting\n"), Ending::Service);
    }
}
