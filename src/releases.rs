//! Hashes of release files that kcl does not know by heart.
//!
//! A version of Kubernetes that is younger than kcl is looked up where it is released: each file has its sha256 beside
//! it. What machines of the cluster were told already is not asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use kcl_aws::store::{Store, configurations};
use kcl_http::{Body, Http, Options, Tls, redirected, request};
use kcl_node_config::NodeConfig;

use crate::error::CommandError;

/// A file of 64 letters: who does not answer in this time has a bad day.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer that is read.
const LARGEST: usize = 4096;
/// The release's server sends on to the nearest copy; more than a few times is a circle.
const REDIRECTS: usize = 5;

/// The hashes of `files`, by URL. `repository` is a web server that has them under their own paths.
pub(crate) async fn hashes(
    files: &BTreeSet<String>,
    repository: Option<&str>,
    store: &dyn Store,
    cluster: &str,
) -> Result<BTreeMap<String, String>, CommandError> {
    if files.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut known = told(store, cluster).await?;
    known.retain(|url, _| files.contains(url));
    let asked: Vec<&String> = files.iter().filter(|url| !known.contains_key(*url)).collect();
    if !asked.is_empty() {
        let options = Options { plain: true, ..Options::default() };
        let http = Http::new(Tls::of_this_machine().map_err(failed)?, options);
        let found = try_join_all(asked.iter().map(|url| released(&http, url, repository))).await?;
        known.extend(asked.into_iter().cloned().zip(found));
    }
    Ok(known)
}

/// What machines were told already.
async fn told(store: &dyn Store, cluster: &str) -> Result<BTreeMap<String, String>, CommandError> {
    let entries = configurations::read(store, cluster).await?;
    let configs = entries.iter().filter_map(|entry| NodeConfig::parse(&entry.document).ok());
    Ok(configs.flat_map(|config| config.assets).map(|asset| (asset.url, asset.sha256)).collect())
}

/// The hash beside a release file.
async fn released(http: &Http, url: &str, repository: Option<&str>) -> Result<String, CommandError> {
    let place = match repository {
        None => format!("{url}.sha256"),
        Some(repository) => {
            let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
            format!("{repository}/{}.sha256", path.map_or("", |(_, path)| path))
        }
    };
    let unknown = |why: String| {
        CommandError::failed(format!("the release file {url} is not known: {why}")).hint(
            "is there such a version of Kubernetes? Without a way to the release's server, `assets.fileRepository` names a \
             mirror",
        )
    };
    let mut at = place.clone();
    for _ in 0..=REDIRECTS {
        let ask = request("GET", &at, &[], Body::empty()).map_err(failed)?;
        let answer = http.send_bounded(ask, LARGEST, PATIENCE).await;
        let answer = answer.map_err(|error| unknown(kcl_http::chain(&error)))?;
        if answer.status.is_redirection() {
            let to = answer.headers.get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = redirected(&at, to);
            // Who was asked over TLS does not send on to somebody without.
            let safe = to.filter(|to| to.starts_with("https://") || at.starts_with("http://"));
            at = safe.ok_or_else(|| unknown(format!("{place} leads nowhere")))?;
            continue;
        }
        if !answer.status.is_success() {
            return Err(unknown(format!("{place} answers HTTP {}", answer.status.as_u16())));
        }
        let text = String::from_utf8_lossy(&answer.body);
        let hash = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Ok(hash);
        }
        return Err(unknown(format!("{place} is no SHA-256")));
    }
    Err(unknown(format!("{place} is sent on more than {REDIRECTS} times")))
}

fn failed(error: impl std::error::Error + 'static) -> CommandError {
    CommandError::failed(kcl_http::chain(&error))
}
