//! `kcl delete`: removes everything a cluster owns, found by its tags. The spec is not needed; where there is
//! one it tells the region. That a cluster is protected is told by its spec, and by a tag on AWS where there is none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kcl_aws::store::lock::{self, LockError, Status, SystemClock};
use kcl_aws::store::{Store, registration};
use kcl_aws::{Aws, Depth, ErrorKind, Scope};
use kcl_engine::{LiveNode, Options, Plan, Resource as _, Step, Wanted};
use kcl_model::resource::{PROTECT_TAG, RegisteredSpec, catalogue};
use kcl_spec::Cluster;
use kcl_spec::cluster::IssuerBucket;

use super::Done;
use super::reconcile::apply;
use crate::cli::{Delete, PlanFormat};
use crate::error::CommandError;
use crate::interrupt::Interrupts;
use crate::locked::{Locked, stopped};
use crate::output::{PlanView, Printer};
use crate::session::{
    Input, cluster_name, connect, connect_unregistered, no_store, only_cluster, open_store,
};
use crate::settings::Settings;

/// The pauses, in seconds, before what is left is deleted, too; what is left after them counts as stuck. Things appear
/// late (a controller's load balancer, a network interface), and stay in lists for a moment after they went.
const PAUSES: [u64; 4] = [1, 2, 4, 8];

/// What is to be deleted.
struct Target {
    name: String,
    region: Option<String>,
    protected: bool,
    /// Where its service-account issuer publishes.
    issuer: Option<IssuerBucket>,
    /// Whether its spec is known from the state store.
    registered: bool,
    store: Option<Arc<dyn Store>>,
    interactive: bool,
}

/// Runs the command.
pub(super) async fn run(args: Delete, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let target = target(&args, settings).await?;
    if target.protected {
        let error =
            format!("{} is protected: its spec has the annotation kcl.dev/protect: \"true\"", target.name);
        return Err(CommandError::failed(error)
            .hint("remove the annotation and register that with `kcl replace -f FILE` first"));
    }
    let aws = match &target.region {
        Some(region) => connect(settings, region).await?,
        None => connect_unregistered(settings, &target.name, target.store.as_deref()).await?,
    };
    let aws = match &target.store {
        Some(store) => aws.with_state(store.clone(), &target.name).with_issuer(target.issuer.clone()),
        None => aws,
    };
    if !args.yes {
        let plan = teardown(&aws, &target.name).await?;
        check_protection(&plan, &target)?;
        check_region(&plan, &target, &aws)?;
        show(&args, printer, &plan, &target, &aws);
        match confirmed(&args, &plan, &target, printer).await? {
            Confirmed::Yes => {}
            Confirmed::No => return Ok(Done::Pending),
            Confirmed::NothingLeft => {
                say_nothing_is_left(&aws, &target, printer);
                if args.purge_state {
                    printer.note("what a purge that was cut short may have left goes with --yes");
                }
                return Ok(Done::Clean);
            }
        }
    }
    let Some(store) = &target.store else {
        delete(&args, &aws, &target, printer, None).await?;
        printer.note("no state store was given: a registered spec, if there is one, was left there");
        say_nothing_is_left(&aws, &target, printer);
        return Ok(Done::Clean);
    };
    match Locked::take(store, &target.name, "kcl delete", Some(&aws.region), args.lock.options(), printer)
        .await
    {
        Ok(locked) => {
            let work = async |locked: &Locked| {
                locked.guard(&aws);
                delete(&args, &aws, &target, printer, Some(locked)).await
            };
            locked.run(printer, work).await?;
            finish_purge(&args, &target, printer).await?;
        }
        // Nothing is registered where there is no bucket, and nobody can hold a lock there.
        Err(LockError::NoBucket { .. }) => delete(&args, &aws, &target, printer, None).await?,
        Err(error) => return Err(error.into()),
    }
    say_nothing_is_left(&aws, &target, printer);
    Ok(Done::Clean)
}

fn say_nothing_is_left(aws: &Aws, target: &Target, printer: &Printer) {
    let mut text = format!("nothing of {} is left in {} (account {})", target.name, aws.region, aws.account);
    if let Some(store) = target.store.as_ref().filter(|_| !target.registered) {
        text += &format!("; it is not registered in {}", store.location());
    }
    printer.note(&text);
}

/// What whoever looked at the plan wants.
enum Confirmed {
    Yes,
    No,
    /// There is nothing to delete.
    NothingLeft,
}

async fn confirmed(
    args: &Delete,
    plan: &Plan,
    target: &Target,
    printer: &Printer,
) -> Result<Confirmed, CommandError> {
    let mut wanted = !plan.is_empty();
    if let (true, Some(store)) = (args.purge_state, &target.store) {
        let objects = store.list(&format!("{}/", target.name)).await?.len();
        if objects > 0 {
            printer.note(&format!("{objects} objects of {} in {} go as well", target.name, store.location()));
            wanted = true;
        }
    }
    if !wanted {
        return Ok(Confirmed::NothingLeft);
    }
    if !target.interactive {
        printer.note("nothing was changed; the same command with --yes deletes all of this");
        return Ok(Confirmed::No);
    }
    let question = format!("This cannot be undone. Type the cluster's name to delete it [{}]:", target.name);
    if printer.confirm(&question, &target.name) {
        return Ok(Confirmed::Yes);
    }
    printer.note("not deleted; nothing was changed");
    Ok(Confirmed::No)
}

/// Deletes everything, and checks that nothing is left.
async fn delete(
    args: &Delete,
    aws: &Aws,
    target: &Target,
    printer: &Printer,
    locked: Option<&Locked>,
) -> Result<(), CommandError> {
    aws.forget_reads();
    let looking = teardown(aws, &target.name);
    let plan = match locked {
        Some(locked) => locked.reading(looking).await?,
        None => Interrupts::listen().unless_asked(looking).await.unwrap_or_else(|| Err(stopped()))?,
    };
    check_protection(&plan, target)?;
    check_region(&plan, target, aws)?;
    if args.yes {
        show(args, printer, &plan, target, aws);
    }
    until_nothing_is_left(aws, plan, target, printer, locked).await?;
    purge(args, aws, target, printer, locked).await
}

/// The registered spec has the last word on whether the cluster is protected. Where none is known, a tag of the
/// cluster's tells.
fn check_protection(plan: &Plan, target: &Target) -> Result<(), CommandError> {
    let protections = kcl_aws::protections(plan.steps.iter().filter_map(|step| step.live.as_ref()));
    if target.registered || protections.is_empty() {
        return Ok(());
    }
    let named = |node: &LiveNode| match node.attrs.get("id") {
        Some(id) => format!("{} ({id})", node.id),
        None => node.id.to_string(),
    };
    let named: Vec<String> = protections.into_iter().map(named).collect();
    let error =
        format!("{} is protected: the tag {PROTECT_TAG}=true is on {}", target.name, named.join(" and "));
    let hint = "give the state store with --state, and take the annotation of the registered spec away with \
                `kcl replace -f FILE`; where the spec is lost, remove the tags by hand";
    Err(CommandError::failed(error).hint(hint))
}

/// Roles belong to no region: whoever looks in another one than the cluster's finds nothing of it but those, and must not take
/// them away while it runs. A region counts that was said, or is known from the state store; not the environment's.
fn check_region(plan: &Plan, target: &Target, aws: &Aws) -> Result<(), CommandError> {
    let is_here = |step: &Step| kcl_aws::is_regional(step.id.kind.as_str());
    if target.region.is_some() || plan.is_empty() || plan.steps.iter().any(is_here) {
        return Ok(());
    }
    let error = format!(
        "nothing of {} is in {}; what was found belongs to no region, and may be of a cluster that runs in another one",
        target.name, aws.region
    );
    let hint = format!(
        "say where it runs with --region, or where its spec is with --state; --region {} removes what was found",
        aws.region
    );
    let mut error = CommandError::failed(error);
    let found: Vec<String> = plan.steps.iter().map(|step| step.id.to_string()).collect();
    error.messages.push(format!("found: {}", found.join(", ")));
    Err(error.hint(hint))
}

/// Finds out which cluster, where, and whether it may be deleted.
async fn target(args: &Delete, settings: &Settings) -> Result<Target, CommandError> {
    let given = cluster_name(args.cluster.clone(), args.named.clone())?;
    let region = settings.aws.region.clone();
    if !args.files.is_empty() {
        let input = Input::read(&args.files)?.expect_cluster(given.as_deref());
        let interactive = settings.interactive && !input.from_stdin;
        let cluster = input.validate()?.cluster;
        let base = Some((cluster.name.as_str(), cluster.config_base.as_deref()));
        let store = open_store(settings, base, &cluster.region, None).await?;
        let registered = registered(store.as_deref(), &cluster.name).await?;
        let protected = cluster.protected || registered.as_ref().is_some_and(|cluster| cluster.protected);
        // What was registered is what was made, whatever the file says today.
        let made = registered.as_ref().unwrap_or(&cluster);
        return Ok(Target {
            issuer: issuer(made),
            region: Some(made.region.clone()),
            protected,
            registered: registered.is_some(),
            name: cluster.name,
            store,
            interactive,
        });
    }
    let store = open_store(settings, None, "", None).await?;
    let name = match (given, &store) {
        (Some(name), _) => name,
        (None, Some(store)) => only_cluster(store.as_ref()).await?,
        (None, None) => {
            return Err(no_store().hint(
                "or give the spec with -f FILE, or name the cluster and its region: NAME --region REGION",
            ));
        }
    };
    let registered = registered(store.as_deref(), &name).await?;
    let protected = registered.as_ref().is_some_and(|cluster| cluster.protected);
    let issuer = registered.as_ref().and_then(issuer);
    let is_registered = registered.is_some();
    let region = match (registered.map(|cluster| cluster.region).or(region), &store) {
        (None, Some(store)) => region_of_lock(store.as_ref(), &name).await?,
        (region, _) => region,
    };
    Ok(Target {
        name,
        region,
        protected,
        issuer,
        registered: is_registered,
        store,
        interactive: settings.interactive,
    })
}

/// Where somebody worked who has left the lock behind: a run that was killed after the spec had gone. The lock goes
/// last, and with it everything by which a cluster is known.
async fn region_of_lock(store: &dyn Store, name: &str) -> Result<Option<String>, CommandError> {
    Ok(match lock::status(store, name, &lock::Options::default(), &SystemClock::new()).await? {
        Status::Held { lease, .. } => lease.holder.region,
        Status::Free | Status::Unreadable { .. } => None,
    })
}

fn issuer(cluster: &Cluster) -> Option<IssuerBucket> {
    cluster.service_account_issuer.as_ref()?.bucket.clone()
}

/// The registered cluster. A registered spec that is no longer sound does not keep anybody from deleting, unless
/// it asks for protection.
async fn registered(store: Option<&dyn Store>, name: &str) -> Result<Option<Cluster>, CommandError> {
    let Some(store) = store else { return Ok(None) };
    let registered = match registration::read(store, name).await {
        Ok(Some(registered)) => registered,
        Ok(None) => return Ok(None),
        // Whatever lies there, it protects nothing.
        Err(error) if error.kind == ErrorKind::Refused => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let protects = registered.completed.contains("kcl.dev/protect");
    match Input::of(store, name, registered).load() {
        Ok(loaded) => Ok(Some(loaded.cluster)),
        Err(error) if protects => Err(error),
        Err(_) => Ok(None),
    }
}

async fn teardown(aws: &Aws, cluster: &str) -> Result<Plan, CommandError> {
    let wanted = Wanted::default();
    let live = kcl_aws::observe(&Scope::new(aws, cluster, &wanted, Depth::Everything)).await?;
    Ok(kcl_engine::plan(&catalogue(), &wanted, live, Options { prune: true, teardown: true })?)
}

fn show(args: &Delete, printer: &Printer, plan: &Plan, target: &Target, aws: &Aws) {
    if args.output == PlanFormat::Json {
        return printer.json(plan);
    }
    if plan.is_empty() {
        return;
    }
    let view = PlanView { catalogue: &catalogue(), cluster: &target.name, width: printer.width, full: false };
    printer.data(&format!("{} in {} (account {})\n", target.name, aws.region, aws.account));
    printer.data(&view.render(plan));
}

/// Applies, lists again, and so on until nothing is left or nothing moves.
async fn until_nothing_is_left(
    aws: &Aws,
    mut plan: Plan,
    target: &Target,
    printer: &Printer,
    locked: Option<&Locked>,
) -> Result<(), CommandError> {
    if plan.is_empty() {
        return Ok(());
    }
    let interrupts = Interrupts::listen();
    let stop = || async {
        match locked {
            Some(locked) => locked.stop().await,
            None => interrupts.asked().await,
        }
    };
    let mut pauses = PAUSES.iter();
    loop {
        let applied = apply(aws, &plan, &target.name, printer, stop()).await;
        let left = teardown(aws, &target.name).await;
        // What failed may go with the next round where something new kept it; else it would fail again.
        let is_worth_it = |left: &Plan| match applied {
            Ok(_) => !left.is_empty(),
            Err(_) => appeared(&plan, left) > 0,
        };
        let mut is_stopped = stop().now_or_never().is_some();
        let goes_on = !is_stopped && left.as_ref().is_ok_and(is_worth_it);
        if let Some(pause) = pauses.next().filter(|_| goes_on) {
            tokio::select! {
                biased;
                () = stop() => is_stopped = true,
                () = tokio::time::sleep(Duration::from_secs(*pause)) => {
                    let left = match (teardown(aws, &target.name).await, applied) {
                        (Ok(left), _) if left.is_empty() => return Ok(()),
                        (Ok(left), _) => left,
                        (unknown, Err(error)) => return Err(with_left(error, unknown, target, aws)),
                        (Err(unknown), Ok(_)) => return Err(unknown),
                    };
                    match appeared(&plan, &left) {
                        0 => printer.note(&format!("{} still there: once more", left.steps.len())),
                        more => printer.note(&format!("{more} more appeared meanwhile")),
                    }
                    plan = left;
                    continue;
                }
            }
        }
        return match (applied, left) {
            (Err(error), left) => Err(with_left(error, left, target, aws)),
            (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(left)) if left.is_empty() => Ok(()),
            (Ok(_), Ok(left)) => Err(still_there(&left, target, aws, is_stopped)),
        };
    }
}

/// How much is in `left` that was not in `plan`.
fn appeared(plan: &Plan, left: &Plan) -> usize {
    let named = |step: &Step| (step.id.clone(), step.live.as_ref().map(|live| live.attrs.clone()));
    let known: BTreeSet<_> = plan.steps.iter().map(named).collect();
    left.steps.iter().filter(|step| !known.contains(&named(step))).count()
}

/// Whatever was removed, something was there again.
fn still_there(left: &Plan, target: &Target, aws: &Aws, is_stopped: bool) -> CommandError {
    let (why, hint) = if is_stopped {
        ("stopped: ", "run the same command again: it goes on from here")
    } else {
        ("", "something in the account makes them again; stop it and run the same command again")
    };
    let hint = format!("{hint}{}", with_region(left, target, aws));
    let error = format!("{why}not all of {} went; left: {}", target.name, names(left));
    CommandError::failed(error).hint(hint)
}

/// What a plan is about.
fn names(plan: &Plan) -> String {
    plan.steps.iter().map(|step| step.id.to_string()).collect::<Vec<_>>().join(", ")
}

/// What has to be added to the same command where the cluster is no longer known by its spec, which goes before it is
/// found that something else is there again.
fn with_region(left: &Plan, target: &Target, aws: &Aws) -> String {
    let is_registered = left.steps.iter().any(|step| step.id.kind.as_str() == RegisteredSpec::SCHEMA.kind);
    if is_registered || !target.registered {
        return String::new();
    }
    format!(" (with --region {}, as the spec is no longer registered)", aws.region)
}

/// `error`, and what is there still, or why that is not known.
fn with_left(
    mut error: CommandError,
    left: Result<Plan, CommandError>,
    target: &Target,
    aws: &Aws,
) -> CommandError {
    match left {
        Ok(plan) if plan.is_empty() => {}
        Ok(plan) => {
            error.messages.push(format!("left: {}", names(&plan)));
            let more = with_region(&plan, target, aws);
            if !more.is_empty() {
                error = error.hint(format!("run the same command again{more}"));
            }
        }
        Err(unknown) => {
            let messages = unknown.messages.iter();
            error.messages.extend(messages.map(|why| format!("what is left is not known: {why}")));
        }
    }
    error
}

/// Removes all of the cluster's objects from the state store, if that is asked for.
async fn purge(
    args: &Delete,
    aws: &Aws,
    target: &Target,
    printer: &Printer,
    locked: Option<&Locked>,
) -> Result<(), CommandError> {
    let (true, Some(store)) = (args.purge_state, &target.store) else { return Ok(()) };
    go_on_purging(target, store.as_ref(), locked)?;
    if let Some(place) = &target.issuer
        && kcl_aws::discovery::purge(aws, place).await?.bucket_deleted
    {
        printer.note(&format!(
            "deleted the bucket {} of the discovery documents, which is empty now",
            place.name
        ));
    }
    go_on_purging(target, store.as_ref(), locked)?;
    let objects = store.purge(&target.name).await?;
    printer.note(&format!("removed {objects} objects of {} from {}", target.name, store.location()));
    Ok(())
}

/// The rest, which the lock is in the way of until it is given back.
async fn finish_purge(args: &Delete, target: &Target, printer: &Printer) -> Result<(), CommandError> {
    let (true, Some(store)) = (args.purge_state, &target.store) else { return Ok(()) };
    if store.finish_purge(&target.name).await? {
        printer.note(&format!("deleted the bucket of {}, which is empty now", store.location()));
    }
    Ok(())
}

/// An error where nothing more may be started. What would go now cannot be made again, and may be a newer cluster's
/// where the lock is lost.
fn go_on_purging(target: &Target, store: &dyn Store, locked: Option<&Locked>) -> Result<(), CommandError> {
    let is_stopped = match locked {
        Some(locked) => locked.is_stopped(),
        None => Interrupts::listen().are_asked(),
    };
    if !is_stopped {
        return Ok(());
    }
    let (name, place) = (&target.name, store.location());
    let error =
        format!("stopped: nothing of {name} is left on AWS, and its objects in {place} are still there");
    Err(CommandError::failed(error).hint("run the same command again: it goes on from here"))
}
