//! What `create` and `update` have in common: preview, ask, take the cluster's lock, apply, bootstrap, validate.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use kcl_apply::{Applied, Outcome};
use kcl_aws::store::lock::LockError;
use kcl_aws::store::{Store, keysets, registration};
use kcl_aws::{Aws, Depth, Error, ErrorKind, Scope};
use kcl_engine::{Options, Plan, Step};
use kcl_kube::PlanOptions;
use kcl_model::kubernetes::system_namespaces;
use kcl_model::resource::catalogue;
use kcl_model::{Facts, NewBucket};
use kcl_pki::EXPIRY_WARNING_DAYS;
use kcl_spec::Cluster;
use serde_json::json;
use time::OffsetDateTime;

use super::Done;
use super::failures::failure;
use crate::bootstrap::{Bootstrap, Kubernetes, Wishes};
use crate::cli::{Machines, PlanFormat, Run};
use crate::error::CommandError;
use crate::health;
use crate::interrupt::Interrupts;
use crate::locked::{Locked, stopped};
use crate::node_agents::NodeAgents;
use crate::output::{KubernetesView, PlanView, Printer, Progress};
use crate::releases;
use crate::session::{Input, Validated, bucket_to_make, connect, no_store, store_of};
use crate::settings::Settings;

/// What is asked for.
pub(super) struct Mode {
    /// What the lock's holder is said to run.
    pub(super) command: &'static str,
    /// Remove what is not wanted.
    pub(super) prune: bool,
    /// Its options.
    pub(super) run: Run,
}

/// Everything a plan is made from, and the plan.
struct Prepared {
    /// The account, with the spec to register.
    aws: Aws,
    cluster: Cluster,
    facts: Facts,
    plan: Plan,
    kubernetes: Kubernetes,
    warnings: Vec<kcl_model::Warning>,
    /// The bucket that has to be there before the lock can be.
    bucket: Option<NewBucket>,
}

/// Shows the way from the cloud as it is to the spec, and takes it where that is confirmed.
pub(super) async fn reconcile(
    input: Input,
    settings: &Settings,
    printer: &Printer,
    mode: &Mode,
) -> Result<Done, CommandError> {
    let interactive = settings.interactive && !input.from_stdin;
    let validated = input.validate()?;
    printer.warnings(&validated.warnings);
    let name = validated.cluster.name.clone();
    let store = store_of(&validated.cluster, settings).await?;
    let aws = connect(settings, &validated.cluster.region).await?.with_state(store.clone(), &name);
    let take =
        || Locked::take(&store, &name, mode.command, Some(&aws.region), mode.run.lock.options(), printer);

    if mode.run.yes {
        match take().await {
            Ok(locked) => {
                let work = async |locked: &Locked| {
                    locked.guard(&aws);
                    let prepared =
                        locked.reading(Box::pin(prepare_again(input, &aws, mode, printer))).await?;
                    prepared.show(printer, &mode.run).await?;
                    prepared.check()?;
                    Box::pin(prepared.apply(printer, mode, locked)).await
                };
                return locked.run(printer, work).await;
            }
            // The plan makes the bucket.
            Err(LockError::NoBucket { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }

    // What is shown before anybody is asked takes no lock, so it is looked at again once there is one.
    let looking = async {
        let input = with_objects(input, store.as_ref(), mode).await?;
        let shown = Box::pin(prepare(input.validate()?, &aws, mode, printer)).await?;
        Ok::<_, CommandError>((input, shown))
    };
    // Who has not been asked can leave at any time; whoever said yes already is heard from the first call on.
    let (input, shown) = if mode.run.yes {
        Interrupts::listen().unless_asked(looking).await.unwrap_or_else(|| Err(stopped()))?
    } else {
        looking.await?
    };
    shown.show(printer, &mode.run).await?;
    shown.check()?;
    if shown.is_in_step() && !mode.run.yes {
        return Ok(shown.in_step(printer));
    }
    let confirmed = mode.run.yes || interactive && printer.confirm("Apply this plan? [yes/no]", "yes");
    if !confirmed {
        if interactive {
            printer.note("not applied; nothing was changed");
        } else {
            printer.note("nothing was changed; the same command with --yes applies this plan");
        }
        return Ok(Done::Pending);
    }
    let new_bucket = match &shown.bucket {
        Some(bucket) => make_bucket(&aws, &shown.plan, bucket, &name, printer).await?,
        None => None,
    };
    let stopped = || stopped_after(new_bucket);
    let work = async |locked: &Locked| {
        locked.guard(&aws);
        let preparing = Box::pin(prepare_again(input, &aws, mode, printer));
        let prepared = locked.until_stopped(preparing, stopped).await?;
        if !shown.is_same(&prepared) {
            prepared.show(printer, &mode.run).await?;
            if !mode.run.yes {
                let nothing = if new_bucket.is_some() { "nothing else" } else { "nothing" };
                let error =
                    format!("the cloud or the spec changed after the plan was shown; {nothing} was changed");
                return Err(
                    CommandError::failed(error).hint("run the same command again: above is what it shows")
                );
            }
        }
        prepared.check()?;
        Box::pin(prepared.apply(printer, mode, locked)).await
    };
    match take().await {
        Ok(locked) => locked.run(printer, work).await,
        Err(LockError::Stopped) => Err(stopped()),
        Err(error) => Err(error.into()),
    }
}

/// The error where the user asked to stop before anything but the state store's bucket was made.
fn stopped_after(bucket: Option<&NewBucket>) -> CommandError {
    let Some(bucket) = bucket else { return stopped() };
    let error = format!("stopped after the bucket {} was made; nothing else was changed", bucket.name);
    CommandError::failed(error).hint("run the same command again: it goes on from here")
}

/// `input` with all its Kubernetes objects, where they are wanted.
async fn with_objects(input: Input, store: &dyn Store, mode: &Mode) -> Result<Input, CommandError> {
    if mode.run.skip_bootstrap { Ok(input) } else { input.with_objects(store).await }
}

/// Like [`prepare`], from scratch: nothing that was read before the lock was taken counts.
async fn prepare_again(
    input: Input,
    aws: &Aws,
    mode: &Mode,
    printer: &Printer,
) -> Result<Prepared, CommandError> {
    aws.forget_reads();
    let input = match aws.state() {
        Some(store) => with_objects(input.again(store).await?, store, mode).await?,
        None => input,
    };
    prepare(input.validate()?, aws, mode, printer).await
}

/// Reads what there is, and plans.
async fn prepare(
    validated: Validated,
    aws: &Aws,
    mode: &Mode,
    printer: &Printer,
) -> Result<Prepared, CommandError> {
    let Validated { cluster, registration, .. } = validated;
    let documents = registration.clone();
    let aws = aws.clone().with_registration(registration);
    let (registered, facts) =
        futures::join!(is_registered(&aws, &cluster.name), kcl_aws::lookup::facts(&aws, &cluster));
    let (facts, agents) = with_machines(facts?, &cluster, &aws, &mode.run.machines).await?;
    let aws = aws.with_node_agents(agents);
    let bucket = aws.state().and_then(|store| bucket_to_make(store, &cluster, registered.ok()?));
    let mut model = kcl_model::build(&cluster, &facts)?;
    let documents =
        kcl_model::Documents { completed: &documents.completed, objects: documents.additional_objects() };
    kcl_model::add_state(&mut model.wanted, &cluster.name, bucket.as_ref(), &documents)?;

    let depth = match (mode.prune, mode.run.deep) {
        (true, _) => Depth::Owned,
        (false, true) => Depth::Deep,
        (false, false) => Depth::Preview,
    };
    let scope = Scope::new(&aws, &cluster.name, &model.wanted, depth);
    let (live, wishes) = futures::join!(kcl_aws::observe(&scope), wishes(&cluster, &facts, mode));
    let (live, wishes) = (live?, wishes?);
    let options = Options { prune: mode.prune, teardown: false };
    let plan = kcl_engine::plan(&catalogue(), &model.wanted, live, options)?;
    check_new_zones(&aws, &cluster, &plan).await?;
    let kubernetes = match (wishes, aws.state()) {
        (Some(wishes), Some(store)) => {
            let own_url = kcl_model::own_api_url(&cluster, &facts.zones, &plan.known);
            Box::pin(Kubernetes::look(wishes, &cluster, &mode.run.ways, store, own_url, printer)).await?
        }
        _ => Kubernetes::Skipped,
    };
    Ok(Prepared { aws, cluster, facts, plan, kubernetes, warnings: model.warnings, bucket })
}

/// `facts` with what machines are given, and the files that this is in. Machines that cannot read the state store are
/// given nothing.
async fn with_machines(
    mut facts: Facts,
    cluster: &Cluster,
    aws: &Aws,
    options: &Machines,
) -> Result<(Facts, BTreeMap<String, PathBuf>), CommandError> {
    let (Some(_), Some(store)) = (&facts.store, aws.state()) else { return Ok((facts, BTreeMap::new())) };
    let needs = kcl_model::needed(cluster);
    let NodeAgents { files, hashes } = NodeAgents::find(&options.node_binary, &needs.node_agents)?;
    let repository = options.file_repository.as_deref().or(cluster.file_repository.as_deref());
    facts.asset_hashes = releases::hashes(&needs.assets, repository, store, &cluster.name).await?;
    facts.node_agents = hashes;
    Ok((facts, files))
}

/// What Kubernetes is to hold; `None` where that is not asked for.
async fn wishes(cluster: &Cluster, facts: &Facts, mode: &Mode) -> Result<Option<Wishes>, CommandError> {
    if mode.run.skip_bootstrap {
        return Ok(None);
    }
    let options = PlanOptions { force_conflicts: mode.run.force_conflicts, prune: mode.prune };
    Wishes::of(cluster, facts, options).await.map(Some)
}

async fn is_registered(aws: &Aws, cluster: &str) -> Result<bool, CommandError> {
    match aws.state() {
        Some(store) => Ok(registration::read(store, cluster).await?.is_some()),
        None => Ok(false),
    }
}

/// Zones that no subnet of ours is in yet may be misspelt, or not be there for this account.
async fn check_new_zones(aws: &Aws, cluster: &Cluster, plan: &Plan) -> Result<(), CommandError> {
    let makes_subnets =
        plan.steps.iter().any(|step| step.id.kind.as_str() == "subnet" && step.live.is_none());
    if makes_subnets {
        kcl_aws::lookup::check_zones(aws, &cluster.zones()).await?;
    }
    Ok(())
}

/// Makes the state store's bucket, which the plan showed: there is no lock without it, and nothing else is made
/// without the lock. Gives it back where there was something to do.
async fn make_bucket<'b>(
    aws: &Aws,
    plan: &Plan,
    bucket: &'b NewBucket,
    cluster: &str,
    printer: &Printer,
) -> Result<Option<&'b NewBucket>, CommandError> {
    let plan = plan.part(|step| is_bucket(step, bucket));
    if plan.is_empty() {
        return Ok(None);
    }
    let interrupts = Interrupts::listen();
    apply(aws, &plan, cluster, printer, interrupts.asked()).await?;
    if interrupts.are_asked() { Err(stopped_after(Some(bucket))) } else { Ok(Some(bucket)) }
}

fn is_bucket(step: &Step, bucket: &NewBucket) -> bool {
    step.id.kind.as_str() == kcl_model::BUCKET_KIND && step.id.name == bucket.name
}

impl Prepared {
    /// Shows the plan, after what the cluster's owner should know.
    async fn show(&self, printer: &Printer, run: &Run) -> Result<(), CommandError> {
        for warning in &self.warnings {
            printer.warning(&warning.title, Some(&warning.hint));
        }
        warn_of_expiry(&self.aws, &self.cluster.name, printer).await?;
        if run.output == PlanFormat::Json {
            let mut plan = json!(self.plan);
            plan["kubernetes"] = self.kubernetes.to_json();
            printer.json(&plan);
            return Ok(());
        }
        let texts: Vec<String> = [self.aws_text(printer, run), self.kubernetes_text(printer, run)]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        if !texts.is_empty() {
            let Self { aws, cluster, .. } = self;
            printer.data(&format!("{} in {} (account {})\n", cluster.name, aws.region, aws.account));
            printer.data(&texts.join("\n"));
        }
        if let Some(why) = self.kubernetes.not_compared() {
            printer.note(&why);
        }
        Ok(())
    }

    fn aws_text(&self, printer: &Printer, run: &Run) -> String {
        let plan = &self.plan;
        if plan.is_empty() && plan.unwanted.is_empty() && plan.refusals.is_empty() {
            return String::new();
        }
        let catalogue = catalogue();
        let cluster = &self.cluster.name;
        PlanView { catalogue: &catalogue, cluster, width: printer.width, full: run.full }.render(plan)
    }

    fn kubernetes_text(&self, printer: &Printer, run: &Run) -> String {
        if let Some(objects) = self.kubernetes.pending() {
            return format!("Kubernetes: {objects} objects to apply once the API server answers\n");
        }
        let view = KubernetesView { width: printer.width, full: run.full };
        self.kubernetes.plan().map(|plan| view.render(plan)).unwrap_or_default()
    }

    /// An error where it cannot be applied whole.
    fn check(&self) -> Result<(), CommandError> {
        if !self.plan.refusals.is_empty() {
            let error =
                "the spec asks for a change that would break the cluster or lose data; nothing was changed";
            return Err(CommandError::failed(error).hint("set the field back"));
        }
        self.kubernetes.check()
    }

    /// There is nothing to apply.
    fn is_in_step(&self) -> bool {
        self.plan.is_empty() && self.kubernetes.is_in_step()
    }

    /// Says so.
    fn in_step(&self, printer: &Printer) -> Done {
        if self.plan.unwanted.is_empty() && self.kubernetes.left_alone() == 0 {
            printer.note(&format!("{} is in step with its spec", self.cluster.name));
            return Done::Clean;
        }
        Done::Pending
    }

    /// Whether `later` does what this does, but for the bucket, which was made meanwhile.
    fn is_same(&self, later: &Self) -> bool {
        let counts = |step: &&Step| self.bucket.as_ref().is_none_or(|bucket| !is_bucket(step, bucket));
        let essence =
            |step: &Step| (step.action, step.id.clone(), step.because.clone(), step.changes.clone());
        let before: Vec<_> = self.plan.steps.iter().filter(counts).map(essence).collect();
        let after: Vec<_> = later.plan.steps.iter().filter(counts).map(essence).collect();
        before == after
            && self.plan.refusals == later.plan.refusals
            && self.kubernetes.essence() == later.kubernetes.essence()
    }

    /// Takes the plan: AWS, then Kubernetes, and in the end a look at whether the cluster is healthy.
    async fn apply(self, printer: &Printer, mode: &Mode, locked: &Locked) -> Result<Done, CommandError> {
        let run = &mode.run;
        let was_in_step = self.is_in_step();
        let Self { aws, cluster, facts, plan, kubernetes, .. } = self;
        let applied = apply(&aws, &plan, &cluster.name, printer, locked.stop()).await?;
        let Some(store) = aws.state() else { return Err(no_store()) };
        let bootstrap = Bootstrap {
            cluster: &cluster,
            facts: &facts,
            aws: &aws,
            store,
            ways: &run.ways,
            timeout: run.timeout,
            guard: locked.kubernetes_guard(),
            confirmed: run.yes,
            output: run.output,
            printer,
        };
        let ready = bootstrap.run(kubernetes, &applied, &|| locked.stop()).await?;
        let left = plan.unwanted.len() + ready.as_ref().map_or(0, |ready| ready.left_alone);
        match (left, was_in_step) {
            (0, _) => printer.note(&format!("{} is in step with its spec", cluster.name)),
            (_, true) => {}
            (left, false) => printer.note(&format!(
                "{} is as its spec wants it; {left} more left alone{}",
                cluster.name,
                if mode.prune { "" } else { " without --prune" }
            )),
        }
        if let Some(ready) = ready.filter(|_| !run.no_validate) {
            let subject = health::Subject {
                aws: &aws,
                cluster: &cluster,
                connection: &ready.connection,
                namespaces: &system_namespaces(&cluster),
                connect_to: run.ways.connect_to.as_ref(),
            };
            let stopped = || {
                let error = "stopped while waiting for the cluster to be healthy; everything was applied";
                CommandError::failed(error).hint(format!("`kcl validate {}` looks again", cluster.name))
            };
            let healthy = health::wait_until_healthy(&subject, run.timeout, printer);
            locked.until_stopped(healthy, stopped).await?;
        }
        Ok(if left == 0 { Done::Clean } else { Done::Pending })
    }
}

/// An authority that ends takes the cluster with it, and replacing it takes days: everybody who trusts it must be told
/// first.
async fn warn_of_expiry(aws: &Aws, cluster: &str, printer: &Printer) -> Result<(), CommandError> {
    let Some(store) = aws.state() else { return Ok(()) };
    let now = OffsetDateTime::now_utc();
    for (name, keyset) in keysets::published(store, cluster).await? {
        let Some(days) = keyset.remaining_days(now).filter(|days| *days < EXPIRY_WARNING_DAYS) else {
            continue;
        };
        let title = match days {
            ..0 => format!("the authority {name} has expired: nothing that it signed is trusted any more"),
            days => format!("the authority {name} expires in {days} days"),
        };
        let hint = format!(
            "`kcl create keypair {name}` adds one, and once every machine trusts it `kcl promote keypair {name}` \
             signs with it"
        );
        printer.warning(&title, Some(&hint));
    }
    Ok(())
}

/// Applies `plan`, shows how it goes, and makes an error of what failed.
pub(super) async fn apply(
    aws: &Aws,
    plan: &Plan,
    cluster: &str,
    printer: &Printer,
    stop: impl Future<Output = ()>,
) -> Result<Applied, CommandError> {
    let progress = RefCell::new(Progress::new(printer, plan, cluster));
    let applied = kcl_apply::apply(
        plan,
        aws,
        stop,
        |unresolved| Error::new(ErrorKind::Unexpected, "kcl", unresolved.to_string()),
        |event| progress.borrow_mut().event(&event),
    );
    let report = with_ticks(applied, || progress.borrow_mut().draw()).await;
    progress.borrow_mut().clear();
    let report = match report.finish() {
        Ok(applied) => return Ok(applied),
        Err(report) => report,
    };
    match report.outcome() {
        Outcome::Done | Outcome::Failed => Err(failure(&report, plan)),
        Outcome::Stopped => {
            let left = report.not_started.len();
            let error = format!(
                "stopped after {} of {} steps; {left} were not started",
                report.done,
                plan.steps.len()
            );
            Err(CommandError::failed(error).hint("run the same command again: it goes on from here"))
        }
    }
}

/// Runs `work` to its end and calls `tick` every second meanwhile.
async fn with_ticks<T>(work: impl Future<Output = T>, tick: impl Fn()) -> T {
    let mut work = std::pin::pin!(work);
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = clock.tick() => tick(),
        }
    }
}
