//! kubeadm's certificates of this machine, renewed before they end.
//!
//! kubeadm makes them for a year, and renews them only when it is told to (`kubeadm certs renew`); the kubelet's own
//! renews itself. When the API server's has less than [`LEFT`] to go, all of them are renewed, and the static pods
//! that have them in memory start anew, one after the other: each is stopped by taking its manifest away, and started
//! by putting it back.
//!
//! What is to be done yet is noted on the machine ([`NOTE`]), so that a run that was killed is finished by the next,
//! and no pod starts anew twice.
//!
//! Where there are several members each has hours of the day of its own ([`may_begin`]), so that one is over long
//! before the next begins.

use std::convert::Infallible;
use std::fs;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kcl_http::{TlsError, certificates, chain};
use kcl_node_config::{Etcd, File, NodeConfig, paths};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::time::Instant;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Agent;
use super::certificate::{self, API_SERVER_CERTIFICATE, CA_CERTIFICATE, CertificateError};
use super::supervise::Failure;
use crate::kubeadm::Kubeadm;
use crate::manifests::{self, Place};
use crate::system::{System, SystemError};

/// What does not work when they are not renewed.
pub(super) const CERTIFICATES: &str = "renewal of certificates";

/// Renewed with less than this to go: long enough for somebody to find out why it was not.
pub const LEFT: time::Duration = time::Duration::days(60);

/// With less than this to go no member waits for its hours.
const URGENT: time::Duration = time::Duration::days(7);

/// What is to be done yet, a line each: kubeadm's part, then the manifests of the pods.
pub const NOTE: &str = "/var/lib/kcl-node/renewing";

/// kubeadm's part, in the note.
const RENEW: &str = "certificates";

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// A pod stops.
    pub stop: Duration,
    /// A pod starts.
    pub start: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            // The kubelet may see it twenty seconds late, and gives a pod thirty to end.
            stop: Duration::from_mins(2),
            // Like kubeadm's own patience with its control plane.
            start: Duration::from_mins(4),
            pause: Duration::from_millis(500),
        }
    }
}

/// Why they are not renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate is none.
    #[error(transparent)]
    Pem(#[from] TlsError),
    /// Likewise.
    #[error("{path} is no certificate")]
    Strange {
        /// Where.
        path: &'static str,
    },
    /// The machine, and kubeadm on it.
    #[error(transparent)]
    System(#[from] SystemError),
    /// A manifest does not say where its pod can be asked, so that nobody would know that it has stopped.
    #[error("{} does not say where its pod is probed", path.display())]
    Probe {
        /// The manifest.
        path: PathBuf,
    },
    /// A pod does not stop.
    #[error("the pod of {manifest} still runs after {} s\nhint: does the kubelet?", after.as_secs())]
    Runs {
        /// Its manifest.
        manifest: String,
        /// How long was waited.
        after: Duration,
    },
    /// A pod does not start again.
    #[error("the pod of {manifest} does not run again after {} s\nhint: `crictl ps -a` shows why", after.as_secs())]
    Silent {
        /// Its manifest.
        manifest: String,
        /// How long was waited.
        after: Duration,
    },
}

/// When certificates end. Of the machine's own the API server's is looked at: kubeadm made the others with it, or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The API server's.
    pub certificate: OffsetDateTime,
    /// The authority's that signs it.
    pub authority: OffsetDateTime,
}

impl Ends {
    /// As they are on the machine.
    pub fn read(system: &System) -> Result<Self, RenewError> {
        let end = |path| -> Result<OffsetDateTime, RenewError> {
            let text = certificate::read(system, path)?;
            // Of several authorities the first is the one that signs.
            let found = certificates(&text, path)?;
            let parsed = found.first().and_then(|der| X509Certificate::from_der(der).ok());
            let (_, parsed) = parsed.ok_or(RenewError::Strange { path })?;
            Ok(parsed.validity().not_after.to_datetime())
        };
        Ok(Self { certificate: end(API_SERVER_CERTIFICATE)?, authority: end(CA_CERTIFICATE)? })
    }

    /// Whether it is time. Where the authority itself ends that soon, a new certificate may end no later.
    pub fn are_close(self, now: OffsetDateTime) -> bool {
        self.certificate - now < LEFT && self.certificate < self.authority - time::Duration::days(1)
    }
}

/// Whether a member may take its pods down now. The day is divided among the members, and each begins in the first
/// half of its part, so that hours are between it and the next; one whose certificates are about to end does not wait.
pub fn may_begin(etcd: &Etcd, ends: Ends, now: OffsetDateTime) -> bool {
    const DAY: usize = 24 * 60;
    let count = etcd.members.len().max(1);
    let index = etcd.members.iter().position(|member| *member == etcd.member).unwrap_or_default();
    let minute = usize::from(now.hour()) * 60 + usize::from(now.minute());
    let part = DAY / count;
    let own = index * part..index * part + part / 2;
    count == 1 || own.contains(&minute) || ends.certificate - now < URGENT
}

/// A machine whose certificates are renewed.
#[derive(Clone, Copy)]
pub struct Renewal<'a> {
    /// The machine.
    pub system: &'a System,
    /// What it is told.
    pub config: &'a NodeConfig,
    /// How long is waited for what.
    pub waits: Waits,
}

impl Renewal<'_> {
    /// Whether a run was begun and not finished.
    pub fn is_begun(&self) -> bool {
        self.system.path(NOTE).exists()
    }

    /// Renews them, or goes on where a run was cut short. A pod that does not come back is left to the next run, which
    /// goes on with the one after it.
    pub async fn run(&self, tell: impl Fn(&str)) -> Result<(), RenewError> {
        // A killed run may have left one away.
        Place::Renewing.put_back(self.system)?;
        if !self.is_begun() {
            let all = [RENEW].into_iter().chain(manifests::ALL);
            self.note(&all.collect::<Vec<_>>())?;
        }
        let read = |source| SystemError::File { what: "read", path: self.system.path(NOTE), source };
        let note = fs::read_to_string(self.system.path(NOTE)).map_err(read)?;
        let mut left: Vec<&str> = note.lines().collect();
        while let Some(next) = left.first().copied() {
            if next == RENEW {
                Kubeadm::new(self.system, self.config).renew().await?;
                tell("kubeadm renewed the machine's certificates");
                left.remove(0);
                self.note(&left)?;
            } else {
                let probe = self.stop(next).await?;
                left.remove(0);
                self.note(&left)?;
                self.started(next, probe).await?;
                tell(&format!("the pod of {next} runs with new certificates"));
            }
        }
        self.system.remove(NOTE)?;
        Ok(())
    }

    fn note(&self, left: &[&str]) -> Result<(), SystemError> {
        let content = left.iter().flat_map(|line| [*line, "\n"]).collect();
        self.system.write(&File { path: NOTE.to_owned(), mode: 0o600, content }).map(drop)
    }

    /// Stops a pod and has it started again; gives where it is asked.
    async fn stop(&self, manifest: &str) -> Result<SocketAddr, RenewError> {
        let path = self.system.path(&format!("{}/{manifest}", paths::MANIFESTS));
        let text = fs::read_to_string(&path).map_err(|source| SystemError::File {
            what: "read",
            path: path.clone(),
            source,
        })?;
        let probe = probe(&text).ok_or(RenewError::Probe { path })?;
        // Put back however this ends, also when the machine begins to leave meanwhile.
        let away = Away { system: self.system };
        Place::Renewing.take_away(self.system, manifest)?;
        let stopped = self.until(self.waits.stop, probe, false).await;
        drop(away);
        Place::Renewing.put_back(self.system)?;
        let after = self.waits.stop;
        if stopped { Ok(probe) } else { Err(RenewError::Runs { manifest: manifest.to_owned(), after }) }
    }

    async fn started(&self, manifest: &str, probe: SocketAddr) -> Result<(), RenewError> {
        let after = self.waits.start;
        if self.until(after, probe, true).await {
            return Ok(());
        }
        Err(RenewError::Silent { manifest: manifest.to_owned(), after })
    }

    /// Waits until somebody listens there, or nobody; says whether it came to that.
    async fn until(&self, longest: Duration, at: SocketAddr, listens: bool) -> bool {
        let begun = Instant::now();
        loop {
            // At least once: a kubelet that sees a file gone and there again at once may see neither.
            tokio::time::sleep(self.waits.pause).await;
            if TcpStream::connect(at).await.is_ok() == listens {
                return true;
            }
            if begun.elapsed() >= longest {
                return false;
            }
        }
    }
}

/// A pod whose manifest is away.
struct Away<'a> {
    system: &'a System,
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        // What fails here is tried again by the next run.
        drop(Place::Renewing.put_back(self.system));
    }
}

/// A static pod, as far as it matters where it is probed.
#[derive(Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    liveness_probe: Probe,
    #[serde(default)]
    ports: Vec<ContainerPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: HttpGet,
}

#[derive(Deserialize)]
struct HttpGet {
    host: Option<IpAddr>,
    /// A number, or a port's name.
    port: serde_yaml::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    name: Option<String>,
    container_port: u16,
}

/// Where the kubelet asks whether a pod is alive.
fn probe(manifest: &str) -> Option<SocketAddr> {
    let pod: Pod = serde_yaml::from_str(manifest).ok()?;
    let container = pod.spec.containers.into_iter().next()?;
    let HttpGet { host, port } = container.liveness_probe.http_get;
    let named = |name: &str| {
        let port = container.ports.iter().find(|port| port.name.as_deref() == Some(name))?;
        Some(port.container_port)
    };
    let number = match &port {
        serde_yaml::Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        serde_yaml::Value::String(name) => named(name)?,
        _ => return None,
    };
    Some(SocketAddr::new(host.unwrap_or(Ipv4Addr::LOCALHOST.into()), number))
}

/// Looks now and then, and renews when it is time.
pub(super) async fn keep_certificates(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    let renewal =
        Renewal { system: &agent.settings.machine.system, config: &agent.config, waits: Waits::default() };
    loop {
        if !agent.has_left() {
            // Neither saved nor restored meanwhile.
            let _alone = agent.saving.lock().await;
            match look(&agent, &renewal, &control_plane.told.etcd).await {
                Ok(()) => agent.report.works(CERTIFICATES),
                // The next look is soon enough: what fails at once would take pods down again and again.
                Err(error) => agent.report.trouble(CERTIFICATES, &chain(&error)),
            }
        }
        tokio::time::sleep(agent.settings.intervals.certificates).await;
    }
}

async fn look(agent: &Agent, renewal: &Renewal<'_>, etcd: &Etcd) -> Result<(), RenewError> {
    let (ends, now) = (Ends::read(renewal.system)?, OffsetDateTime::now_utc());
    // Whatever is done or not: nothing of a killed run stays away until the machine's hours.
    Place::Renewing.put_back(renewal.system)?;
    if (renewal.is_begun() || ends.are_close(now)) && may_begin(etcd, ends, now) {
        agent
            .report
            .tell(&format!("the API server's certificate ends at {}: all are renewed", ends.certificate));
        renewal.run(|line| agent.report.tell(line)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 00:00:00 UTC);

    fn ends(days: i64) -> Ends {
        let after = |days| NOW + time::Duration::days(days);
        Ends { certificate: after(days), authority: after(1000) }
    }

    #[test]
    fn they_are_renewed_two_months_before_their_end() {
        assert!(!ends(60).are_close(NOW));
        assert!(ends(59).are_close(NOW));
        assert!(ends(-1).are_close(NOW), "the machine was stopped for long");
        let authority = ends(30).certificate;
        assert!(!Ends { authority, ..ends(30) }.are_close(NOW), "it would be renewed for ever");
    }

    #[test]
    fn no_two_members_begin_within_hours_of_each_other() {
        for count in 1..=7 {
            let members: Vec<String> = (0..count).map(|index| format!("m{index}")).collect();
            let etcd = |member: &String| Etcd {
                member: member.clone(),
                members: members.clone(),
                backup_retention_days: 90,
            };
            let mut last: Option<(i64, &String)> = None;
            // Two days, minute by minute.
            for minute in 0..2 * 24 * 60 {
                let now = NOW + time::Duration::minutes(minute);
                let may: Vec<&String> =
                    members.iter().filter(|member| may_begin(&etcd(member), ends(50), now)).collect();
                assert!(may.len() <= 1, "{count} at {now}: {may:?}");
                let Some(member) = may.first().copied() else { continue };
                if let Some((before, other)) = last
                    && other != member
                {
                    assert!(minute - before > 100, "{count} at {now}");
                }
                last = Some((minute, member));
            }
            let urgent = members.iter().all(|member| may_begin(&etcd(member), ends(6), NOW));
            assert!(urgent, "their hours may never come");
        }
    }

    #[test]
    fn a_pod_is_asked_where_the_kubelet_asks_it() {
        let pod = |port: &str| {
            format!(
                "spec:\n  containers:\n  - name: etcd\n    livenessProbe:\n      httpGet:\n        host: 10.0.0.1\n        \
                 port: {port}\n    ports:\n    - containerPort: 2381\n      name: probe-port\n"
            )
        };
        let at = Some("10.0.0.1:2381".parse().unwrap());
        assert_eq!((probe(&pod("probe-port")), probe(&pod("2381"))), (at, at));
        assert_eq!(probe(&pod("another")), None);
        assert_eq!(probe("spec: {}"), None);
    }
}
