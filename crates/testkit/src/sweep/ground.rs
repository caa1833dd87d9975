//! What sweeps start from: accounts that are ready to be copied, and what undisturbed runs do.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::Point;
use crate::local_aws::LocalAws;
use crate::releases::node_agent_stand_ins;
use crate::world::{Run, World, example, make_zone};

use super::canonical::State;
use super::process::Running;
use super::row::Fate;

/// The reference cluster.
pub(super) const EXAMPLE: &str = "karlaru.yaml";
/// Its name.
pub(super) const CLUSTER: &str = "k8s.karlaru.com";

/// What the update changes of the spec: with it, and with a newer node agent, every kind of resource is changed, made or
/// removed, but for [`LASTING`].
const CHANGES: [(&str, &str); 11] = [
    ("  metricsServer:\n", "  cloudLabels:\n    team: web\n  metricsServer:\n"),
    ("    - 203.0.113.0/24\n", "    - 198.51.100.0/24\n"),
    // The private one has a way out of its own: a gateway, its address, a route.
    (
        "      cidr: 172.20.32.0/19\n",
        "      cidr: 172.20.32.0/19\n    - name: eu-north-1b\n      zone: eu-north-1b\n      type: Public\n      cidr: 172.20.64.0/19\n    - name: eu-north-1b-private\n      zone: eu-north-1b\n      type: Private\n      cidr: 172.20.96.0/19\n",
    ),
    ("volumeSize: 6", "volumeSize: 8"),
    // Another bucket, with documents of its own.
    ("s3://karlaru-kcl-oidc/", "s3://karlaru-kcl-oidc-2/"),
    ("      - sts.amazonaws.com\n", "      - sts.amazonaws.com\n      - other.example.com\n"),
    // One role goes, and another one comes.
    ("      - name: iam-account\n", "      - name: other-account\n"),
    ("\"s3:PutObject\",", "\"s3:GetObject\",\n                  \"s3:PutObject\","),
    (
        "machineType: t3.micro\n  minSize: 2\n  maxSize: 2\n",
        "machineType: t3.small\n  minSize: 3\n  maxSize: 3\n",
    ),
    ("    - docs.karlaru.com", "    - www.karlaru.com"),
    // A queue, rules that send to it, and hooks.
    ("enableSQSTerminationDraining: false", "enableSQSTerminationDraining: true"),
];

/// Kinds that no update touches: keys are made once, and rotated by commands of their own.
const LASTING: [&str; 2] = ["encryption-key", "keyset"];

/// The lease of a run that will leave its lock behind: short, as the next run waits for its end, and long enough to be
/// renewed on a machine that is busy with other runs.
pub(super) const SHORT_LEASE: &str = "10s";
/// Longer than that lease and its margin.
const WAIT: &str = "1m";

/// One command against one state of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A cluster where there is none.
    Create,
    /// A change of every kind of resource.
    Update,
    /// All of it goes.
    Delete,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Delete];

    /// `create`...
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What a stage does when nothing is in its way.
#[derive(Debug)]
pub(super) struct Undisturbed {
    pub(super) points: Vec<Point>,
    pub(super) state: State,
}

/// Accounts to be copied, and undisturbed runs.
pub struct Ground {
    binary: &'static str,
    /// With a hosted zone, and nothing else.
    bare: LocalAws,
    /// With the cluster, too.
    created: LocalAws,
    undisturbed: [Undisturbed; 3],
}

impl Ground {
    /// Makes the accounts, and runs each stage once.
    pub fn prepare(kcl: &Path) -> Result<Self, Error> {
        // Worlds want it as long as the process lives; there is one.
        let binary: &'static str = Box::leak(kcl.display().to_string().into_boxed_str());
        let bare = LocalAws::start()?;
        let zone = |source| Error::Run { source };
        make_zone(&bare, "karlaru.com").map_err(zone)?;
        let created = LocalAws::start()?;
        make_zone(&created, "karlaru.com").map_err(zone)?;
        let mut auditor = Auditor::start()?;
        let (bare, all) = used(World::of(binary, bare), &["-o", "json"], &mut auditor)?;
        let (created, _) = used(World::of(binary, created), &["--yes"], &mut auditor)?;
        let mut ground = Self { binary, bare, created, undisturbed: Stage::ALL.map(|_| Undisturbed::none()) };
        let untouched = ground.untouched(&kinds(&all)?)?;
        if untouched != LASTING {
            let said = format!("of all kinds, it does not touch {}", untouched.join(", "));
            return Err(Error::Undisturbed { stage: Stage::Update.name(), said });
        }
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            ground.undisturbed[index] = ground.run_undisturbed(stage, &mut auditor)?;
        }
        Ok(ground)
    }

    /// What an undisturbed run of `stage` does.
    pub(super) fn undisturbed(&self, stage: Stage) -> &Undisturbed {
        match stage {
            Stage::Create => &self.undisturbed[0],
            Stage::Update => &self.undisturbed[1],
            Stage::Delete => &self.undisturbed[2],
        }
    }

    /// A copy of the account in which `stage` begins.
    pub(super) fn world(&self, stage: Stage) -> Result<World, Error> {
        let account = match stage {
            Stage::Create => &self.bare,
            Stage::Update | Stage::Delete => &self.created,
        };
        Ok(World::of(self.binary, account.copy()?))
    }

    /// Runs `stage` with nothing in its way, after a run that was disturbed. What is wrong then, if anything is: it has
    /// to succeed, and to come to the state of an undisturbed run.
    pub(super) fn again(
        &self,
        world: &World,
        stage: Stage,
        auditor: &mut Auditor,
    ) -> Result<Option<String>, Error> {
        world.aws.clear_rules();
        let mut again = command(world, stage)?;
        again.env("KCL_LOCK_TIMEOUT", WAIT);
        let again = Running::start(again)?.wait()?;
        // Where it got as far as giving its lock back, nothing of the cluster is left to be known by.
        let is_unknown = stage == Stage::Delete && again.stderr.contains("is not registered in");
        if again.code != 0 && !is_unknown {
            return Ok(Some(format!("the next run: {}", again.end())));
        }
        self.difference(world, stage, auditor)
    }

    /// What is wrong after a run that did all of its work and could not give back its lock: the next one, once that
    /// has run out, must have nothing to do.
    pub(super) fn nothing_left(
        &self,
        world: &World,
        stage: Stage,
        auditor: &mut Auditor,
    ) -> Result<Option<String>, Error> {
        world.aws.take_calls();
        let trouble = self.again(world, stage, auditor)?;
        let calls = world.aws.calls();
        let change = calls.iter().find(|call| call.mutating && !call.path.ends_with("/lock"));
        Ok(trouble.or_else(|| {
            change.map(|call| format!("the next run still had something to do: {}", call.name()))
        }))
    }

    /// What became of a run that the fault at `point` did not meet: nothing was in its way, so that it has to end as an
    /// undisturbed one.
    pub(super) fn missed(
        &self,
        world: &World,
        stage: Stage,
        ended: &Run,
        point: &Point,
        auditor: &mut Auditor,
    ) -> Result<Fate, Error> {
        let trouble = match ended.code {
            0 => self.difference(world, stage, auditor)?,
            _ => Some(ended.end()),
        };
        Ok(trouble
            .map_or(Fate::Missed, |trouble| Fate::Failed(format!("{point}, which was missed: {trouble}"))))
    }

    /// What there is other than after an undisturbed run.
    pub(super) fn difference(
        &self,
        world: &World,
        stage: Stage,
        auditor: &mut Auditor,
    ) -> Result<Option<String>, Error> {
        let found = State::of(&auditor.audit(&world.aws, world.aws.region())?);
        let difference = self.undisturbed(stage).state.difference(&found);
        let unsupported = world.aws.unsupported();
        if !unsupported.is_empty() {
            return Ok(Some(format!("the local AWS cannot do {}", unsupported.join(", "))));
        }
        Ok((!difference.is_empty()).then(|| format!("another state:\n{}", difference.join("\n"))))
    }

    /// Which of all kinds of the cluster the update does not touch, by its own plan.
    fn untouched(&self, all: &BTreeSet<String>) -> Result<Vec<String>, Error> {
        let world = self.world(Stage::Update)?;
        let preview = update(&world, &["-o", "json"])?;
        let ended = Running::start(preview)?.wait()?;
        if ended.code != 0 {
            return Err(Error::Undisturbed { stage: Stage::Update.name(), said: ended.all() });
        }
        Ok(all.difference(&kinds(&ended)?).cloned().collect())
    }

    fn run_undisturbed(&self, stage: Stage, auditor: &mut Auditor) -> Result<Undisturbed, Error> {
        let world = self.world(stage)?;
        let ended = Running::start(command(&world, stage)?)?.wait()?;
        let calls = world.aws.take_calls();
        if ended.code != 0 || !world.aws.unsupported().is_empty() {
            return Err(Error::Undisturbed { stage: stage.name(), said: ended.all() });
        }
        let found = State::of(&auditor.audit(&world.aws, world.aws.region())?);
        Ok(Undisturbed { points: Point::of(&calls), state: found })
    }
}

/// The account after `kcl create cluster` with these arguments, and an audit; and what kcl said. Both let moto load what
/// it needs for a service, as it does at the first call: else each copy does so again, which takes longer than all that
/// it is asked.
fn used(world: World, args: &[&str], auditor: &mut Auditor) -> Result<(LocalAws, Run), Error> {
    let path = world.spec(&example(EXAMPLE));
    let args = [&["create", "cluster", "-f", path.as_str()], args].concat();
    let ended = Running::start(world.command(&args))?.wait()?;
    if ended.code != 0 {
        return Err(Error::Undisturbed { stage: Stage::Create.name(), said: ended.all() });
    }
    auditor.audit(&world.aws, world.aws.region())?;
    Ok((world.aws, ended))
}

/// The kinds of resource that a plan touches.
fn kinds(preview: &Run) -> Result<BTreeSet<String>, Error> {
    let plan: Value = serde_json::from_str(&preview.stdout)
        .map_err(|error| Error::Run { source: std::io::Error::other(error) })?;
    let steps = plan["steps"].as_array().into_iter().flatten();
    Ok(steps.filter_map(|step| step["id"]["kind"].as_str().map(str::to_owned)).collect())
}

impl Undisturbed {
    fn none() -> Self {
        Self { points: Vec::new(), state: State::default() }
    }
}

/// kcl, as a user runs it in this stage.
pub(super) fn command(world: &World, stage: Stage) -> Result<Command, Error> {
    match stage {
        Stage::Create => {
            let path = world.spec(&example(EXAMPLE));
            Ok(world.command(&["create", "cluster", "-f", &path, "--yes"]))
        }
        Stage::Update => update(world, &["--yes"]),
        Stage::Delete => Ok(world.command(&["delete", "cluster", CLUSTER, "--yes"])),
    }
}

/// The update, with these arguments.
fn update(world: &World, args: &[&str]) -> Result<Command, Error> {
    let mut spec = example(EXAMPLE);
    for (from, to) in CHANGES {
        if !spec.contains(from) {
            let said = format!("{EXAMPLE} has no {from:?} to be changed");
            return Err(Error::Undisturbed { stage: Stage::Update.name(), said });
        }
        spec = spec.replacen(from, to, 1);
    }
    let path = world.spec(&spec);
    let mut command = world.command(&[&["update", "-f", path.as_str(), "--prune"], args].concat());
    let agents = newer_agents(world.folder.path()).map_err(|source| Error::Run { source })?;
    command.env("KCL_NODE_BINARY", agents);
    Ok(command)
}

/// Stand-ins for other builds of the node agent than those that the cluster was created with.
fn newer_agents(folder: &Path) -> std::io::Result<String> {
    let folder = folder.join("newer");
    let is_new = !folder.exists();
    std::fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for name in ["kcl-node-amd64", "kcl-node-arm64"] {
        files.push(folder.join(name).display().to_string());
    }
    // Another run may be reading them.
    if is_new {
        for path in node_agent_stand_ins(&folder)? {
            std::fs::OpenOptions::new().append(true).open(path)?.write_all(b"newer")?;
        }
    }
    Ok(files.join(","))
}
