//! One run of kcl with one thing that goes wrong on its way to the API server.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::faults::{Fault, Moment, Point, When};
use crate::world::Run;

use super::super::faults::{PATIENCE, idle};
use super::super::ground::SHORT_LEASE;
use super::super::interrupt::signalled;
use super::super::jobs::Told;
use super::super::process::Running;
use super::super::row::Fate;
use super::bench::{Bench, Undisturbed};

/// What goes wrong.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) what: What,
    /// What a run that stops because of it has to say: one of these. Empty: it may not stop.
    causes: &'static [&'static str],
}

#[derive(Clone, Copy)]
pub(super) enum What {
    /// A fault at one request.
    Once(Fault),
    /// At one, and each later one of the same verb and resource.
    Action(Fault),
    /// At one, and whatever comes after it.
    Rest(Fault),
    /// At all of them.
    All(Fault),
    /// The API server dies at one request, and is started again.
    Restart,
    /// kcl is killed at one request, and the same command is run again.
    Kill(Moment),
    /// Ctrl-C at one request: once, or twice.
    Interrupt { twice: bool },
}

const fn case(what: What, causes: &'static [&'static str]) -> Case {
    Case { what, causes }
}

const SERVER: &[&str] =
    &["the API server answered 50", "Internal error occurred", "currently unable", "Timeout"];
const LOST: &[&str] = &["cannot be reached"];
/// What kcl says while it waits for longer, as a new API server refuses its administrators for a moment.
const YOUNG: &str = "nobody has given this user its rights yet";

/// Shorter than kcl waits for an answer, and longer than it waits for a server to say that it is there.
const STALL: Duration = Duration::from_secs(30);
const LATE: Fault = Fault::Latency { least: Duration::from_millis(20), jitter: Duration::from_millis(180) };

/// All of them; what takes longest comes first.
pub(super) const CASES: [Case; 18] = [
    case(What::Once(Fault::Stall(STALL)), LOST),
    case(What::Restart, LOST),
    case(What::Kill(Moment::BeforeForwarding), &[]),
    case(What::Kill(Moment::ResponseLost), &[]),
    case(What::Interrupt { twice: false }, &[]),
    case(What::Interrupt { twice: true }, &[]),
    case(What::All(LATE), &[]),
    case(What::Once(Fault::Throttled), &["Too many requests"]),
    case(What::Once(Fault::ServerError(500)), SERVER),
    case(What::Once(Fault::ServerError(502)), SERVER),
    case(What::Once(Fault::ServerError(503)), SERVER),
    case(What::Once(Fault::ServerError(504)), SERVER),
    case(What::Once(Fault::ConnectionReset), LOST),
    case(What::Once(Fault::ResponseLost), LOST),
    case(What::Once(Fault::ResponseCut), LOST),
    case(What::Once(Fault::Conflict), &[]),
    case(What::Action(Fault::Denied), &[" may not "]),
    case(What::Rest(Fault::CredentialsExpired), &["does not accept who asks"]),
];

impl Case {
    /// As it stands in the table.
    pub(super) fn name(self) -> String {
        match self.what {
            What::Rest(Fault::CredentialsExpired) => "API server: 401 from then on".to_owned(),
            What::Once(Fault::Throttled) => "API server: 429".to_owned(),
            What::Action(Fault::Denied) => "API server: 403".to_owned(),
            What::Once(Fault::Conflict) => "API server: 409".to_owned(),
            What::Once(fault) | What::Action(fault) | What::Rest(fault) | What::All(fault) => {
                format!("API server: {fault}")
            }
            What::Restart => "API server: started again".to_owned(),
            What::Kill(Moment::BeforeForwarding) => "API server: kcl killed before the call".to_owned(),
            What::Kill(Moment::ResponseLost) => "API server: kcl killed after the call".to_owned(),
            What::Interrupt { twice: false } => "API server: Ctrl-C".to_owned(),
            What::Interrupt { twice: true } => "API server: Ctrl-C twice".to_owned(),
        }
    }

    /// Whether it can strike this request.
    pub(super) fn fits(self, point: &Point) -> bool {
        !matches!(self.what, What::Once(Fault::Conflict)) || point.action.starts_with("apply")
    }

    /// Whether it says nothing which request it is, but for the seed.
    pub(super) fn is_everywhere(self) -> bool {
        matches!(self.what, What::All(_))
    }

    /// Whether it stays, so that a run has to stop: how soon it does is worth a note.
    pub(super) fn is_lasting(self) -> bool {
        matches!(self.what, What::Action(_) | What::Rest(_))
    }

    /// Runs kcl with it. `point`: where it strikes; without one, everywhere. `undisturbed`: what a run does, and makes, that
    /// nothing is in the way of.
    pub(super) fn run(
        self,
        bench: &mut Bench,
        undisturbed: &Undisturbed,
        point: Option<&Point>,
        seed: u64,
    ) -> Result<Told, Error> {
        bench.begin(undisturbed.work)?;
        let Some(at) = point else {
            return match self.what {
                What::All(fault) => self.fault(bench, undisturbed, fault, When::Always, seed),
                _ => Ok(Fate::Missed.into()),
            };
        };
        let mut told = match self.what {
            What::Once(fault) => self.fault(bench, undisturbed, fault, When::At(at.clone()), seed),
            What::Action(fault) => self.fault(bench, undisturbed, fault, When::ActionFrom(at.clone()), seed),
            What::Rest(fault) => self.fault(bench, undisturbed, fault, When::From(at.clone()), seed),
            What::All(fault) => self.fault(bench, undisturbed, fault, When::Always, seed),
            What::Restart => self.restart(bench, undisturbed, at),
            What::Kill(moment) => kill(bench, undisturbed, at, moment),
            What::Interrupt { twice } => interrupt(bench, undisturbed, at, twice),
        }?;
        for fate in &mut told.fates {
            if let Fate::Failed(why) = fate {
                *why = format!("{at}: {why}");
            }
        }
        Ok(told)
    }

    fn fault(
        self,
        bench: &Bench,
        undisturbed: &Undisturbed,
        fault: Fault,
        when: When,
        seed: u64,
    ) -> Result<Told, Error> {
        let strikes = bench.proxy.inject(fault, when, seed);
        let run = Running::start(bench.command(undisturbed.work))?.wait()?;
        let (first, ended) = (strikes.first(), Instant::now());
        let took = first.map(|first| ended.saturating_duration_since(first));
        if strikes.count() == 0 && run.code == 0 {
            return Ok(Fate::Missed.into());
        }
        if let (Some(first), false, true) = (first, run.code == 0, self.is_lasting()) {
            let waited = idle(&bench.proxy.calls(), first, ended);
            let said = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            if waited > PATIENCE && !said.contains(YOUNG) {
                let waited = format!("waited {:.1} s before it stopped: {}", waited.as_secs_f64(), run.end());
                return Ok(after(Fate::Failed(waited), took));
            }
        }
        self.judge(bench, undisturbed, &run, took)
    }

    /// What a run came to. `took`: how long it went on after the fault.
    fn judge(
        self,
        bench: &Bench,
        undisturbed: &Undisturbed,
        run: &Run,
        took: Option<Duration>,
    ) -> Result<Told, Error> {
        let says_why = |said: &str| self.causes.iter().any(|cause| said.contains(cause));
        if run.code == 0 {
            match bench.difference(undisturbed)? {
                None => return Ok(Fate::Converged.into()),
                // What may not be looked into is not pruned, and a run that leaves it says so.
                Some(_) if self.is_lasting() && says_why(&run.all()) => (),
                Some(trouble) => return Ok(Fate::Failed(trouble).into()),
            }
        } else if !says_why(&run.end()) {
            // What it said on its way there is no cause.
            return Ok(after(Fate::Failed(format!("not the right cause: {}", run.end())), took));
        }
        let trouble = bench.again(undisturbed)?;
        Ok(after(trouble.map_or(Fate::Stopped, Fate::Failed), took))
    }

    fn restart(self, bench: &mut Bench, undisturbed: &Undisturbed, point: &Point) -> Result<Told, Error> {
        let halt = bench.proxy.halt(point.clone(), Moment::BeforeForwarding);
        let mut run = Running::start(bench.command(undisturbed.work))?;
        if !run.reaches(&halt)? {
            return missed(bench, undisturbed, &run.wait()?);
        }
        bench.server.kill_api_server();
        bench.proxy.close();
        halt.cut();
        bench.proxy.open_with_server()?;
        bench.server.start_again()?;
        let run = run.wait()?;
        self.judge(bench, undisturbed, &run, None)
    }
}

/// A run that stopped so long after the fault.
fn after(fate: Fate, took: Option<Duration>) -> Told {
    Told { fates: vec![fate], measured: took.map(|took| took.as_secs_f64()) }
}

/// What a run is whose request did not come: nothing was in its way, so that it has to end as an undisturbed one.
fn missed(bench: &Bench, undisturbed: &Undisturbed, run: &Run) -> Result<Told, Error> {
    let trouble = if run.code == 0 { bench.difference(undisturbed)? } else { Some(run.end()) };
    Ok(trouble.map_or(Fate::Missed, Fate::Failed).into())
}

fn kill(bench: &Bench, undisturbed: &Undisturbed, point: &Point, moment: Moment) -> Result<Told, Error> {
    let halt = bench.proxy.halt(point.clone(), moment);
    let mut first = bench.command(undisturbed.work);
    first.env("KCL_LOCK_LEASE", SHORT_LEASE);
    let mut first = Running::start(first)?;
    if !first.reaches(&halt)? {
        return missed(bench, undisturbed, &first.wait()?);
    }
    first.kill()?;
    halt.cut();
    let trouble = bench.again(undisturbed)?;
    Ok(trouble.map_or(Fate::Converged, Fate::Failed).into())
}

fn interrupt(bench: &Bench, undisturbed: &Undisturbed, point: &Point, twice: bool) -> Result<Told, Error> {
    let halt = bench.proxy.halt(point.clone(), Moment::BeforeForwarding);
    let mut run = bench.command(undisturbed.work);
    if twice {
        // It does not give its lock back.
        run.env("KCL_LOCK_LEASE", SHORT_LEASE);
    }
    let mut run = Running::start(run)?;
    if !run.reaches(&halt)? {
        return missed(bench, undisturbed, &run.wait()?);
    }
    let trouble = match signalled(run, &halt, twice, point, || bench.proxy.calls())? {
        None => bench.again(undisturbed)?,
        trouble => trouble,
    };
    Ok(trouble.map_or(Fate::Stopped, Fate::Failed).into())
}
