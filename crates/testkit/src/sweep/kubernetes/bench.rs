//! What a run is disturbed on: a copy of the account that has the cluster, its API server with stand-ins for whatever
//! would work in it, and the proxy between kcl and that.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::faults::Point;
use crate::ingress_stand_in::IngressStandIn;
use crate::kubernetes::{ApiProxy, ApiServer, ApiServerConfig, BIND_ADMINS, Machines, Rollouts};
use crate::local_aws::LocalAws;
use crate::world::{Run, World, example, make_zone};

use super::super::ground::{CLUSTER, EXAMPLE};
use super::super::process::Running;
use super::objects::{Made, Objects};

/// What a run is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// All of it, where nothing is there.
    Apply,
    /// What the spec had before goes.
    Prune,
}

impl Work {
    /// As a row's name ends.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Prune => "prune",
        }
    }
}

/// What the spec has no longer: some of each that is removed in another order, but for a namespace, which takes a
/// controller to go.
const PRUNED: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: { name: old, namespace: default }
data: { a: b }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: old, namespace: default }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: old }
rules: [{ apiGroups: [\"\"], resources: [pods], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: old }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: old }
subjects: [{ kind: ServiceAccount, name: old, namespace: default }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: old, namespace: default }
spec:
  selector: { matchLabels: { app: old } }
  template:
    metadata: { labels: { app: old } }
    spec:
      serviceAccountName: old
      containers: [{ name: old, image: example.com/old }]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: olds.example.com }
spec:
  group: example.com
  scope: Namespaced
  names: { kind: Old, plural: olds, singular: old }
  versions:
    - { name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object } } }
---
apiVersion: example.com/v1
kind: Old
metadata: { name: old, namespace: default }
";

/// How long a rollout may take, beside others.
const TIMEOUT: &str = "3m";
/// Longer than a short lease and its margin.
const WAIT: &str = "1m";

fn failed(source: std::io::Error) -> Error {
    Error::Run { source }
}

/// The account with the reference cluster, of which nothing in Kubernetes is there.
pub(super) fn account(binary: &'static str) -> Result<World, Error> {
    let aws = LocalAws::start()?;
    make_zone(&aws, "karlaru.com").map_err(failed)?;
    let world = in_files(World::of(binary, aws));
    let path = world.spec(&example(EXAMPLE));
    let create = world.command(&["create", "cluster", "-f", &path, "--yes"]);
    let ended = Running::start(create)?.wait()?;
    if ended.code != 0 {
        return Err(Error::Undisturbed { stage: "create", said: ended.all() });
    }
    Ok(world)
}

/// With its state in a folder, where the control plane's keys are read.
fn in_files(mut world: World) -> World {
    world.state = format!("file://{}", world.folder.path().join("state").display());
    world
}

/// What is done when nothing is in the way: its requests, and what is there in the end.
pub(super) struct Undisturbed {
    pub(super) work: Work,
    pub(super) points: Vec<Point>,
    wanted: Made,
}

impl Undisturbed {
    pub(super) fn run(bench: &Bench, work: Work) -> Result<Self, Error> {
        bench.begin(work)?;
        let ended = Running::start(bench.command(work))?.wait()?;
        if ended.code != 0 {
            return Err(Error::Undisturbed { stage: work.name(), said: ended.all() });
        }
        let calls = bench.proxy.take_calls();
        Ok(Self { work, points: Point::of(&calls), wanted: bench.made()? })
    }
}

/// One of them.
pub(super) struct Bench {
    /// The account.
    pub(super) world: World,
    // Dropped before what they talk to.
    _rollouts: Rollouts,
    /// What stands before the API server.
    pub(super) proxy: ApiProxy,
    _machines: Machines,
    /// The API server.
    pub(super) server: ApiServer,
    ingress: IngressStandIn,
    before: Objects,
}

impl Bench {
    /// Sets one up, with a copy of `account`.
    pub(super) fn start(account: &World) -> Result<Self, Error> {
        let mut world = in_files(World::of(account.binary, account.aws.copy()?));
        world.bootstrap = true;
        copy(&account.folder.path().join("state"), &world.folder.path().join("state")).map_err(failed)?;
        let pki = world.pki(CLUSTER);
        let issuer = format!("https://karlaru-kcl-oidc.s3.{}.amazonaws.com/{CLUSTER}", world.aws.region());
        // Neither controller manager nor scheduler: what they would do would take most of a run's time.
        let server = ApiServer::start(ApiServerConfig::new(pki.folder(), issuer))?;
        let admin = server.admin(&pki)?;
        let bound = server.kubectl(&admin, &BIND_ADMINS)?;
        if bound.code != 0 {
            return Err(Error::Kubernetes { asked: BIND_ADMINS.join(" "), said: bound.all() });
        }
        let machines = world.machines(CLUSTER);
        let proxy = ApiProxy::start(&pki, server.port())?;
        let rollouts = proxy.roll_out(machines.len())?;
        let machines = Machines::start(&server, &admin, &machines)?;
        let before = Objects::of(&proxy)?;
        let ingress = IngressStandIn::start().map_err(failed)?;
        Ok(Self { world, _rollouts: rollouts, proxy, _machines: machines, server, ingress, before })
    }

    /// Makes it ready for `work`, whatever the run before made.
    pub(super) fn begin(&self, work: Work) -> Result<(), Error> {
        self.proxy.clear();
        match work {
            Work::Apply => self.restore()?,
            // What is there already stands, mostly.
            Work::Prune if self.has_old()?.code == 0 => (),
            Work::Prune => {
                self.restore()?;
                let ended = self.has_old()?;
                if ended.code != 0 {
                    return Err(Error::Undisturbed { stage: "update", said: ended.all() });
                }
            }
        }
        self.proxy.take_calls();
        self.world.aws.take_calls();
        Ok(())
    }

    /// Takes everything away that a run made.
    fn restore(&self) -> Result<(), Error> {
        Objects::restore(&self.before, &self.proxy)
    }

    /// Brings the cluster to what it is before something is pruned.
    fn has_old(&self) -> Result<Run, Error> {
        let spec = self.world.spec(&format!("{}{PRUNED}", example(EXAMPLE)));
        let mut command = self.update(&["-f", &spec]);
        command.env("KCL_LOCK_TIMEOUT", WAIT);
        Running::start(command)?.wait()
    }

    /// kcl, which does `work` by way of the proxy.
    pub(super) fn command(&self, work: Work) -> Command {
        let spec = self.world.spec(&example(EXAMPLE));
        match work {
            Work::Apply => self.update(&["-f", &spec]),
            Work::Prune => self.update(&["-f", &spec, "--prune"]),
        }
    }

    fn update(&self, args: &[&str]) -> Command {
        let mut command = self.world.command(&[&["update", "--yes", "--timeout", TIMEOUT], args].concat());
        command
            .env("KCL_API_SERVER", self.proxy.url())
            .env("KCL_CONNECT_TO", format!("::127.0.0.1:{}", self.ingress.port()));
        command
    }

    /// What runs made.
    pub(super) fn made(&self) -> Result<Made, Error> {
        Ok(Objects::settled(&self.proxy)?.since(&self.before))
    }

    /// Runs kcl with nothing in its way, after a run that was disturbed. What is wrong then, if anything is.
    pub(super) fn again(&self, undisturbed: &Undisturbed) -> Result<Option<String>, Error> {
        self.proxy.clear();
        let mut again = self.command(undisturbed.work);
        again.env("KCL_LOCK_TIMEOUT", WAIT);
        let again = Running::start(again)?.wait()?;
        if again.code != 0 {
            return Ok(Some(format!("the next run: {}", again.end())));
        }
        self.difference(undisturbed)
    }

    /// What there is other than after an undisturbed run, in the cluster or, where there is nothing to do, in AWS.
    pub(super) fn difference(&self, undisturbed: &Undisturbed) -> Result<Option<String>, Error> {
        let wanted = &undisturbed.wanted;
        if let Some(change) = self.world.aws.mutating_calls().first() {
            return Ok(Some(format!("it changed AWS by {}", change.name())));
        }
        let made = self.made()?;
        let lacks = wanted.iter().filter(|(name, object)| made.get(*name) != Some(object));
        let has = made.iter().filter(|(name, object)| wanted.get(*name) != Some(object));
        let lacks = lacks.map(|(name, object)| format!("- {name}: {object}"));
        let lines: Vec<String> =
            lacks.chain(has.map(|(name, object)| format!("+ {name}: {object}"))).collect();
        Ok((!lines.is_empty()).then(|| format!("another state:\n{}", lines.join("\n"))))
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let into = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &into)?;
        } else {
            fs::copy(entry.path(), into)?;
        }
    }
    Ok(())
}
