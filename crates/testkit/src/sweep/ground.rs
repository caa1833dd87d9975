//! What sweeps start from: accounts that are ready to be copied, and what undisturbed runs do.

use std::path::Path;
use std::process::Command;

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::Point;
use crate::local_aws::LocalAws;
use crate::world::{Run, World, example, make_zone};

use super::canonical::State;
use super::process::Running;
use super::row::Fate;

/// The reference cluster.
const EXAMPLE: &str = "karlaru.yaml";
/// Its name.
pub(super) const CLUSTER: &str = "k8s.karlaru.com";

/// What the update changes of the spec: with it every kind of resource is changed, made or removed that can be.
const CHANGES: [(&str, &str); 8] = [
    ("  metricsServer:\n", "  cloudLabels:\n    team: web\n  metricsServer:\n"),
    ("    - 203.0.113.0/24\n", "    - 198.51.100.0/24\n"),
    (
        "      cidr: 172.20.32.0/19\n",
        "      cidr: 172.20.32.0/19\n    - name: eu-north-1b\n      zone: eu-north-1b\n      type: Public\n      cidr: 172.20.64.0/19\n",
    ),
    ("volumeSize: 6", "volumeSize: 8"),
    ("      - sts.amazonaws.com\n", "      - sts.amazonaws.com\n      - other.example.com\n"),
    ("\"s3:PutObject\",", "\"s3:GetObject\",\n                  \"s3:PutObject\","),
    (
        "machineType: t3.micro\n  minSize: 2\n  maxSize: 2\n",
        "machineType: t3.small\n  minSize: 3\n  maxSize: 3\n",
    ),
    ("    - docs.karlaru.com", "    - www.karlaru.com"),
];

/// The lease of a run that will leave its lock behind: the shortest there is, as the next run waits for its end.
pub(super) const SHORT_LEASE: &str = "5s";
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
        let bare = used(World::of(binary, bare), &["create", "cluster"], &mut auditor)?;
        let created = used(World::of(binary, created), &["create", "cluster", "--yes"], &mut auditor)?;
        let mut ground = Self { binary, bare, created, undisturbed: Stage::ALL.map(|_| Undisturbed::none()) };
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
        let mut again = command(world, stage);
        again.env("KCL_LOCK_TIMEOUT", WAIT);
        let again = Running::start(again)?.wait()?;
        // Where it got as far as giving its lock back, nothing of the cluster is left to be known by.
        let is_unknown = stage == Stage::Delete && again.stderr.contains("is not registered in");
        if again.code != 0 && !is_unknown {
            return Ok(Some(format!("the next run: {}", again.end())));
        }
        self.difference(world, stage, auditor)
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

    fn run_undisturbed(&self, stage: Stage, auditor: &mut Auditor) -> Result<Undisturbed, Error> {
        let world = self.world(stage)?;
        let ended = Running::start(command(&world, stage))?.wait()?;
        let calls = world.aws.take_calls();
        if ended.code != 0 || !world.aws.unsupported().is_empty() {
            return Err(Error::Undisturbed { stage: stage.name(), said: ended.all() });
        }
        let found = State::of(&auditor.audit(&world.aws, world.aws.region())?);
        Ok(Undisturbed { points: Point::of(&calls), state: found })
    }
}

/// The account after a run of kcl with the reference cluster, and an audit. Both let moto load what it needs for a
/// service, as it does at the first call: else each copy does so again, which takes longer than all that it is asked.
fn used(world: World, args: &[&str], auditor: &mut Auditor) -> Result<LocalAws, Error> {
    let path = world.spec(&example(EXAMPLE));
    let ended = Running::start(world.command(&[args, &["-f", &path]].concat()))?.wait()?;
    if ended.code != 0 {
        return Err(Error::Undisturbed { stage: Stage::Create.name(), said: ended.all() });
    }
    auditor.audit(&world.aws, world.aws.region())?;
    Ok(world.aws)
}

impl Undisturbed {
    fn none() -> Self {
        Self { points: Vec::new(), state: State::default() }
    }
}

/// kcl, as a user runs it in this stage.
pub(super) fn command(world: &World, stage: Stage) -> Command {
    let mut spec = example(EXAMPLE);
    if stage == Stage::Update {
        for (from, to) in CHANGES {
            spec = spec.replacen(from, to, 1);
        }
    }
    let path = world.spec(&spec);
    match stage {
        Stage::Create => world.command(&["create", "cluster", "-f", &path, "--yes"]),
        Stage::Update => world.command(&["update", "-f", &path, "--prune", "--yes"]),
        Stage::Delete => world.command(&["delete", "cluster", CLUSTER, "--yes"]),
    }
}
