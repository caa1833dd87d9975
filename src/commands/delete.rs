//! `kcl delete`: removes everything a cluster owns, found by its tags. The spec is not needed; where there is
//! one it tells the region. That a cluster is protected is told by its spec, and by a tag on AWS where there is none.

use std::sync::Arc;

use kcl_aws::store::{Store, spec_key};
use kcl_aws::{Aws, Depth, Scope};
use kcl_engine::{Options, Plan, Wanted};
use kcl_model::resource::{PROTECT_TAG, catalogue};
use kcl_spec::{Cluster, Source};

use super::Done;
use super::reconcile::apply;
use crate::cli::{Delete, PlanFormat};
use crate::error::CommandError;
use crate::output::{PlanView, Printer};
use crate::session::{
    Input, cluster_name, connect, connect_unregistered, no_store, only_cluster, open_store,
};
use crate::settings::Settings;

/// How often the cloud is listed again before what is left counts as stuck. Things appear late (a controller's
/// load balancer, a network interface), and a round that removes nothing ends it before that.
const ROUNDS: usize = 5;

/// What is to be deleted.
struct Target {
    name: String,
    region: Option<String>,
    protected: bool,
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
        Some(store) => aws.with_state(store.clone()),
        None => aws,
    };
    let plan = teardown(&aws, &target.name).await?;
    check_protection(&plan, &target)?;
    show(&args, printer, &plan, &target, &aws);
    if plan.is_empty() {
        if !purge(&args, args.yes, &target, printer).await? {
            return Ok(Done::Pending);
        }
        printer
            .say(&format!("nothing of {} is left in {} (account {})", target.name, aws.region, aws.account));
        return Ok(Done::Clean);
    }
    if !args.yes {
        let question =
            format!("This cannot be undone. Type the cluster's name to delete it [{}]:", target.name);
        if !target.interactive {
            printer.note("nothing was changed; the same command with --yes deletes all of this");
            return Ok(Done::Pending);
        }
        if !printer.confirm(&question, &target.name) {
            printer.note("not deleted; nothing was changed");
            return Ok(Done::Pending);
        }
    }
    until_nothing_is_left(&aws, plan, &target, printer).await?;
    purge(&args, true, &target, printer).await?;
    if target.store.is_none() {
        printer.note("no state store was given: a registered spec, if there is one, was left there");
    }
    printer.note(&format!("nothing of {} is left in {} (account {})", target.name, aws.region, aws.account));
    Ok(Done::Clean)
}

/// The registered spec has the last word on whether the cluster is protected. Where none is known, a tag of the
/// cluster's tells.
fn check_protection(plan: &Plan, target: &Target) -> Result<(), CommandError> {
    let protection = kcl_aws::protection(plan.steps.iter().filter_map(|step| step.live.as_ref()));
    let Some(node) = protection.filter(|_| !target.registered) else { return Ok(()) };
    let id = node.attrs.get("id").map(|id| format!(" ({id})")).unwrap_or_default();
    let error = format!("{} is protected: {}{id} has the tag {PROTECT_TAG}=true", target.name, node.id);
    let hint = "give the state store with --state, and take the annotation of the registered spec away with \
                `kcl replace -f FILE`; where the spec is lost, remove the tag by hand";
    Err(CommandError::failed(error).hint(hint))
}

/// Finds out which cluster, where, and whether it may be deleted.
async fn target(args: &Delete, settings: &Settings) -> Result<Target, CommandError> {
    let given = cluster_name(args.cluster.clone())?;
    let region = settings.aws.region.clone();
    if !args.files.is_empty() {
        let input = Input::read(&args.files)?.expect_cluster(given.as_deref());
        let interactive = settings.interactive && !input.from_stdin;
        let cluster = input.validate()?.cluster;
        let base = Some((cluster.name.as_str(), cluster.config_base.as_deref()));
        let store = open_store(settings, base, &cluster.region).await?;
        let registered = registered(store.as_deref(), &cluster.name).await?;
        let protected = cluster.protected || registered.as_ref().is_some_and(|cluster| cluster.protected);
        return Ok(Target {
            name: cluster.name,
            region: Some(cluster.region),
            protected,
            registered: registered.is_some(),
            store,
            interactive,
        });
    }
    let store = open_store(settings, None, "").await?;
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
    let is_registered = registered.is_some();
    let region = registered.map(|cluster| cluster.region).or(region);
    Ok(Target {
        name,
        region,
        protected,
        registered: is_registered,
        store,
        interactive: settings.interactive,
    })
}

/// The registered cluster. A registered spec that is no longer sound does not keep anybody from deleting, unless
/// it asks for protection.
async fn registered(store: Option<&dyn Store>, name: &str) -> Result<Option<Cluster>, CommandError> {
    let Some(store) = store else { return Ok(None) };
    let Some(object) = store.get(&spec_key(name)).await? else { return Ok(None) };
    let text = String::from_utf8_lossy(&object.body).into_owned();
    let source = Source::new(format!("{}/{}", store.location(), spec_key(name)), text.clone());
    match kcl_spec::load(&[source]) {
        Ok(loaded) => Ok(Some(loaded.cluster)),
        Err(diagnostics) if text.contains("kcl.dev/protect") => Err(diagnostics.into()),
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
) -> Result<(), CommandError> {
    for _ in 0..ROUNDS {
        let applied = apply(aws, &plan, &target.name, printer).await;
        plan = teardown(aws, &target.name).await?;
        if let Err(error) = applied {
            return Err(with_left(error, &plan));
        }
        if plan.is_empty() {
            return Ok(());
        }
        printer.note(&format!("{} more appeared meanwhile", plan.steps.len()));
    }
    let left: Vec<String> = plan.steps.iter().map(|step| step.id.to_string()).collect();
    let mut error = CommandError::failed(format!("{} resources of {} are left", left.len(), target.name));
    error.messages.extend(left);
    Err(error.hint("something in the account makes them again; stop it and run the same command again"))
}

/// `error`, and what is there still.
fn with_left(mut error: CommandError, plan: &Plan) -> CommandError {
    let left = plan.steps.iter().map(|step| step.id.to_string()).collect::<Vec<_>>();
    if !left.is_empty() {
        error.messages.push(format!("left: {}", left.join(", ")));
    }
    error
}

/// Removes the cluster's objects from the state store, if that is asked for and `confirmed`, or is confirmed now.
/// Gives false where it was not.
async fn purge(
    args: &Delete,
    confirmed: bool,
    target: &Target,
    printer: &Printer,
) -> Result<bool, CommandError> {
    let (true, Some(store)) = (args.purge_state, &target.store) else { return Ok(true) };
    let objects = store.list(&format!("{}/", target.name)).await?.len();
    if objects > 0 && !confirmed {
        let question =
            format!("Remove {objects} objects of {} from {}? [yes/no]", target.name, store.location());
        if !(target.interactive && printer.confirm(&question, "yes")) {
            printer.note(&format!("nothing was removed from {}; --yes removes it", store.location()));
            return Ok(false);
        }
    }
    let purged = store.purge(&target.name).await?;
    printer.say(&format!("removed {} objects of {} from {}", purged.objects, target.name, store.location()));
    if purged.bucket_deleted {
        printer.say(&format!("deleted the bucket of {}, which is empty now", store.location()));
    }
    Ok(true)
}
