//! What `create` and `update` have in common: preview, ask, apply.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use kcl_apply::{Outcome, Report};
use kcl_aws::store::spec_key;
use kcl_aws::{Aws, Depth, Error, ErrorKind, Scope};
use kcl_engine::{Catalogue, Options, Plan};
use kcl_model::resource::catalogue;
use kcl_spec::Cluster;

use super::Done;
use crate::cli::{PlanFormat, Run};
use crate::error::CommandError;
use crate::output::{PlanView, Printer, Progress};
use crate::session::{Input, Validated, bucket_to_make, connect, store_of};
use crate::settings::Settings;

/// What is asked for.
pub(super) struct Mode {
    /// Remove what is not wanted.
    pub(super) prune: bool,
    /// Its options.
    pub(super) run: Run,
}

/// Shows the way from the cloud as it is to the spec, and takes it where that is confirmed.
pub(super) async fn reconcile(
    input: Input,
    settings: &Settings,
    printer: &Printer,
    mode: &Mode,
) -> Result<Done, CommandError> {
    let interactive = settings.interactive && !input.from_stdin;
    let Validated { cluster, warnings, text } = input.validate()?;
    printer.warnings(&warnings);
    let store = store_of(&cluster, settings).await?;
    let aws = connect(settings, &cluster.region).await?.with_state(store.clone()).with_documents(&text);

    let (registered, facts) = futures::join!(
        async { store.get(&spec_key(&cluster.name)).await.map(|spec| spec.is_some()) },
        kcl_aws::lookup::facts(&aws, &cluster),
    );
    let bucket = bucket_to_make(store.as_ref(), &aws.region, registered?);
    let mut model = kcl_model::build(&cluster, &facts?)?;
    kcl_model::add_state(&mut model.wanted, &cluster.name, bucket.as_ref(), &text)?;
    for warning in &model.warnings {
        printer.warning(&warning.title, Some(&warning.hint));
    }

    let depth = match (mode.prune, mode.run.deep) {
        (true, _) => Depth::Owned,
        (false, true) => Depth::Deep,
        (false, false) => Depth::Preview,
    };
    let scope = Scope::new(&aws, &cluster.name, &model.wanted, depth);
    let live = kcl_aws::observe(&scope).await?;
    let catalogue = catalogue();
    let options = Options { prune: mode.prune, teardown: false };
    let plan = kcl_engine::plan(&catalogue, &model.wanted, live, options)?;
    check_new_zones(&aws, &cluster, &plan).await?;

    show(printer, &catalogue, &plan, &cluster, &aws, &mode.run);
    if let Some(done) = nothing_to_apply(&plan, printer, &cluster)? {
        return Ok(done);
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
    apply(&aws, &plan, &cluster.name, printer).await?;
    let left = plan.unwanted.len();
    if left > 0 {
        printer.note(&format!(
            "{} is as its spec wants it; {left} more left alone without --prune",
            cluster.name
        ));
        return Ok(Done::Pending);
    }
    printer.note(&format!("{} is in step with its spec", cluster.name));
    Ok(Done::Clean)
}

/// How a command without steps ends; `None` where there are some.
fn nothing_to_apply(plan: &Plan, printer: &Printer, cluster: &Cluster) -> Result<Option<Done>, CommandError> {
    if !plan.refusals.is_empty() {
        let error =
            "the spec asks for a change that would break the cluster or lose data; nothing was changed";
        return Err(CommandError::failed(error).hint("set the field back"));
    }
    if !plan.is_empty() {
        return Ok(None);
    }
    if plan.unwanted.is_empty() {
        printer.note(&format!("{} is in step with its spec", cluster.name));
        return Ok(Some(Done::Clean));
    }
    Ok(Some(Done::Pending))
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

fn show(printer: &Printer, catalogue: &Catalogue, plan: &Plan, cluster: &Cluster, aws: &Aws, run: &Run) {
    if run.output == PlanFormat::Json {
        return printer.json(plan);
    }
    if plan.is_empty() && plan.unwanted.is_empty() && plan.refusals.is_empty() {
        return;
    }
    let view = PlanView { catalogue, cluster: &cluster.name, width: printer.width, full: run.full };
    printer.data(&format!("{} in {} (account {})\n", cluster.name, aws.region, aws.account));
    printer.data(&view.render(plan));
}

/// Applies `plan`, shows how it goes, and makes an error of what failed.
pub(super) async fn apply(
    aws: &Aws,
    plan: &Plan,
    cluster: &str,
    printer: &Printer,
) -> Result<(), CommandError> {
    let progress = RefCell::new(Progress::new(printer, plan, cluster));
    let applied = kcl_apply::apply(
        plan,
        aws,
        first_interrupt(),
        |unresolved| Error::new(ErrorKind::Unexpected, "kcl", unresolved.to_string()),
        |event| progress.borrow_mut().event(&event),
    );
    let report = with_ticks(applied, || progress.borrow_mut().draw()).await;
    progress.borrow_mut().clear();
    match report.outcome() {
        Outcome::Done => Ok(()),
        Outcome::Failed => Err(failure(&report, plan)),
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

/// Resolves at the first Ctrl-C (or SIGTERM); the second one ends the process at once.
async fn first_interrupt() {
    interrupt().await;
    tokio::spawn(async {
        interrupt().await;
        // The shell's code for "ended by Ctrl-C". Nothing is lost: the next run goes on.
        leave_at_once();
    });
}

#[expect(clippy::exit, reason = "the second Ctrl-C means: now")]
fn leave_at_once() -> ! {
    std::process::exit(130)
}

async fn interrupt() {
    let ctrl_c = tokio::signal::ctrl_c();
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = ctrl_c => {}
        _ = terminate => {}
    }
}

fn failure(report: &Report<Error>, plan: &Plan) -> CommandError {
    let errors: Vec<Error> = report.failures.iter().map(|failure| failure.error.clone()).collect();
    let mut error = CommandError::from(errors);
    error.messages = report
        .failures
        .iter()
        .map(|failure| format!("failed to {} {}: {}", verb(failure.action), failure.id, failure.error))
        .collect();
    let skipped: usize = report.failures.iter().map(|failure| failure.skipped.len()).sum();
    error.messages.push(format!(
        "{} of {} steps are done, {} failed, {skipped} were skipped because of that",
        report.done,
        plan.steps.len(),
        report.failures.len()
    ));
    error.hint("mend the cause and run the same command again: it goes on from here")
}

fn verb(action: kcl_engine::Action) -> &'static str {
    match action {
        kcl_engine::Action::Create => "create",
        kcl_engine::Action::Update => "change",
        kcl_engine::Action::Delete => "delete",
    }
}
