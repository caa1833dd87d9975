//! Downloads that go well, and all the ways in which they do not.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::fs;
use std::time::Duration;

use common::{Folder, Reply, Web, archive, client, patience, sha256};
use kcl_http::chain;
use kcl_node::download::{DownloadError, Downloads, Outcome};
use kcl_node_config::{Asset, AssetFile};

fn downloads() -> Downloads {
    Downloads { http: client(), patience: patience(), silence: Duration::from_secs(10) }
}

fn file(member: Option<&str>, to: &str) -> AssetFile {
    AssetFile { member: member.map(str::to_owned), to: to.to_owned(), mode: "0755".to_owned() }
}

/// A program and where it is.
fn program(web: &Web, content: &[u8]) -> (Asset, String) {
    let (url, files) = (web.url("/kubelet"), vec![file(None, "/usr/local/bin/kubelet")]);
    (Asset { name: "kubelet".to_owned(), url: url.clone(), sha256: sha256(content), files }, url)
}

async fn install(folder: &Folder, asset: &(Asset, String)) -> Result<Outcome, DownloadError> {
    let done = downloads().install(&folder.system(), std::slice::from_ref(asset)).await?;
    Ok(done[&asset.0.name])
}

const CONTENT: &[u8] = b"the program, all of it";

#[tokio::test]
async fn what_is_there_is_not_fetched_again() {
    let (web, folder) = (Web::start(), Folder::new());
    web.set("/kubelet", [Reply::Whole(CONTENT.to_vec())]);
    let asset = program(&web, CONTENT);
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Installed);
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Kept);
    assert_eq!(web.count("/kubelet"), 1);
    let path = folder.root().join("usr/local/bin/kubelet");
    fs::write(&path, "somebody changed it").unwrap();
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Installed);
    assert_eq!(fs::read(path).unwrap(), CONTENT);
}

/// An image may bring the program without any note of ours.
#[tokio::test]
async fn what_an_image_brings_is_not_fetched() {
    let (web, folder) = (Web::start(), Folder::new());
    let asset = program(&web, CONTENT);
    folder
        .system()
        .write(&kcl_node_config::File {
            path: "/usr/local/bin/kubelet".to_owned(),
            mode: 0o755,
            content: String::from_utf8(CONTENT.to_vec()).unwrap(),
        })
        .unwrap();
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Kept);
    assert_eq!(web.count("/kubelet"), 0);
}

#[tokio::test]
async fn the_wanted_members_of_an_archive_are_installed() {
    let (web, folder) = (Web::start(), Folder::new());
    let bytes = archive(&[("./bin/containerd", "one"), ("bin/ctr", "two"), ("bin/other", "three")]);
    web.set("/c.tgz", [Reply::Whole(bytes.clone())]);
    let files =
        vec![file(Some("bin/containerd"), "/usr/local/bin/containerd"), file(Some("bin/ctr"), "/opt/ctr")];
    let url = web.url("/c.tgz");
    let asset = Asset { name: "containerd".to_owned(), url: url.clone(), sha256: sha256(&bytes), files };
    let asset = (asset, url);
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Installed);
    assert_eq!(fs::read(folder.root().join("usr/local/bin/containerd")).unwrap(), b"one");
    assert_eq!(fs::read(folder.root().join("opt/ctr")).unwrap(), b"two");
    assert!(!folder.tree().contains("three"));
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Kept);
    fs::remove_file(folder.root().join("opt/ctr")).unwrap();
    assert_eq!(install(&folder, &asset).await.unwrap(), Outcome::Installed, "one of its files was gone");
}

/// Each of these passes: the file comes in the end.
#[tokio::test]
async fn what_passes_is_tried_again() {
    let whole = || Reply::Whole(CONTENT.to_vec());
    let cases: Vec<Vec<Reply>> = vec![
        vec![Reply::Cut(CONTENT.to_vec()), Reply::Cut(CONTENT.to_vec()), whole()],
        vec![Reply::Status(503), Reply::Status(429), whole()],
        vec![Reply::Redirect("/elsewhere".to_owned()), whole()],
    ];
    for replies in cases {
        let (web, folder) = (Web::start(), Folder::new());
        web.set("/elsewhere", [whole()]);
        web.set("/kubelet", replies.clone());
        install(&folder, &program(&web, CONTENT)).await.unwrap();
        assert_eq!(fs::read(folder.root().join("usr/local/bin/kubelet")).unwrap(), CONTENT, "{replies:?}");
    }
}

/// Each of these does not; nothing is in the program's place, and what was there before still is.
#[tokio::test]
async fn what_does_not_pass_leaves_the_machine_as_it_was() {
    let cases: Vec<(&str, Reply, usize)> = vec![
        ("cut short", Reply::Cut(CONTENT.to_vec()), 4),
        ("wrong hash", Reply::Whole(b"another program".to_vec()), 1),
        ("not there", Reply::Status(404), 1),
        ("forbidden", Reply::Status(403), 1),
        ("server trouble", Reply::Status(500), 4),
        ("round and round", Reply::Redirect("/kubelet".to_owned()), 6),
        ("to a file", Reply::Redirect("file:///etc/passwd".to_owned()), 1),
    ];
    let mut text = String::new();
    for (name, reply, times) in cases {
        let (web, folder) = (Web::start(), Folder::new());
        web.set("/kubelet", [reply]);
        let path = folder.root().join("usr/local/bin/kubelet");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "the old one").unwrap();
        let error = chain(&install(&folder, &program(&web, CONTENT)).await.unwrap_err());
        text += &format!("{name}: {}\n", error.replace(web.url("").trim_start_matches("http://"), "HOST"));
        assert_eq!(web.count("/kubelet"), times, "{name}");
        let tree = folder.tree();
        assert_eq!(tree, "=== /usr/local/bin/kubelet 0644\nthe old one\n", "{name}");
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) });
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let (web, folder) = (Web::start(), Folder::new());
    web.set("/kubelet", [Reply::Stall(CONTENT.to_vec()), Reply::Whole(CONTENT.to_vec())]);
    let impatient = Downloads { silence: Duration::from_millis(300), ..downloads() };
    impatient.install(&folder.system(), &[program(&web, CONTENT)]).await.unwrap();
    assert_eq!(web.count("/kubelet"), 2);
}

#[tokio::test]
async fn an_archive_that_is_not_what_it_should_be_is_refused() {
    let good = archive(&[("bin/containerd", "one")]);
    let mut damaged = good.clone();
    damaged.truncate(good.len() / 2);
    for (bytes, why) in [
        (b"no archive".to_vec(), "failed to unpack"),
        (good, "it has no bin/ctr"),
        (damaged, "failed to unpack"),
    ] {
        let (web, folder) = (Web::start(), Folder::new());
        web.set("/c.tgz", [Reply::Whole(bytes.clone())]);
        let files = vec![file(Some("bin/ctr"), "/opt/ctr")];
        let url = web.url("/c.tgz");
        let asset = Asset { name: "containerd".to_owned(), url: url.clone(), sha256: sha256(&bytes), files };
        let error = install(&folder, &(asset, url)).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(folder.tree(), "", "no note says that it is installed");
    }
}
