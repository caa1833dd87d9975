//! What the environment and the global options come to.

use std::io::IsTerminal;

use kcl_aws::store::Location;

use crate::cli::{Color, Global};
use crate::error::CommandError;

/// Settings of one run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `--state` or `KCL_STATE_STORE`.
    pub(crate) state: Option<String>,
    /// How to reach AWS.
    pub(crate) aws: kcl_aws::Settings,
    /// When to use colour.
    pub(crate) color: Color,
    /// Whether somebody can be asked.
    pub(crate) interactive: bool,
    /// Columns of the output.
    pub(crate) width: usize,
}

/// Where the output is not a terminal, and what fits everywhere.
const DEFAULT_WIDTH: usize = 80;

impl Settings {
    /// Settles everything that does not depend on the command, and starts logging.
    pub(crate) fn resolve(global: &Global) -> Self {
        start_logging(global);
        let width = terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
        Self {
            state: global.state.clone().filter(|state| !state.is_empty()),
            aws: kcl_aws::Settings::new(global.region.clone(), global.profile.clone()),
            color: global.color,
            interactive: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            width: width.clamp(60, 140),
        }
    }

    /// The state store: the option or variable, else `config_base` of `cluster`'s spec.
    pub(crate) fn location(
        &self,
        spec: Option<(&str, Option<&str>)>,
    ) -> Result<Option<Location>, CommandError> {
        let parse = |text: &str| match Location::parse(text) {
            Ok(location) => Ok(Some(location)),
            Err(error) => Err(CommandError::usage(error.to_string())),
        };
        let from_spec = spec.and_then(|(cluster, base)| Some((cluster, base?)));
        match (&self.state, from_spec) {
            (Some(state), _) => parse(state),
            (None, Some((cluster, base))) => {
                // kOps' configBase ends in the cluster's own folder.
                let (base, owner) = base.split_at(base.find('?').unwrap_or(base.len()));
                let base = base.trim_end_matches('/');
                let store =
                    base.strip_suffix(cluster).and_then(|base| base.strip_suffix('/')).unwrap_or(base);
                parse(&format!("{store}{owner}"))
            }
            (None, None) => Ok(None),
        }
    }
}

fn start_logging(global: &Global) {
    let level = match global.verbose {
        0 => return,
        1 => "kcl=debug,kcl_aws=debug,kcl_apply=debug,kcl_kube=debug",
        2 => "kcl=trace,kcl_aws=trace,kcl_apply=trace,kcl_kube=trace",
        _ => {
            "kcl=trace,kcl_aws=trace,kcl_apply=trace,kcl_kube=trace,aws_config=debug,aws_smithy_runtime=debug"
        }
    };
    // Bodies are never logged, at any level: they hold policies and user data.
    let filter = tracing_subscriber::EnvFilter::new(level);
    let color = match global.color {
        Color::Auto => {
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
        }
        Color::Always => true,
        Color::Never => false,
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).with_ansi(color).init();
}
