//! What machines run first: a few lines of shell that fetch kcl-node and start it.
//!
//! The script fetches the program from the state store with the machine's role, believes it by its hash, and leaves
//! a service that starts it: at once, again if it fails, and at each start of the machine. Anyone who can describe
//! launch templates can read user data, so no secret ever stands in it; the role's credentials are given to curl
//! on its standard input, or to Python on its own where curl is too old to sign (see `PRESIGN`): nobody else on the
//! machine sees them. It never gives up: a role, a route or a NAT gateway
//! may come later than the machine, and nobody else would start it again.
//!
//! `/etc/kcl-node.env` may name other endpoints than AWS' own (`AWS_ENDPOINT_URL_S3`,
//! `AWS_EC2_METADATA_SERVICE_ENDPOINT`), for machines that are none of EC2's.

use std::fmt::Write as _;

use kcl_engine::{Ref, Resource};
use kcl_spec::cluster::{InstanceGroup, Role};
use sha2::{Digest, Sha256};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::facts::StoreLocation;
use crate::machines;
use crate::resource::{AGENT_GAP, CONFIGURATION_GAP, NodeAgent, NodeConfiguration};

/// EC2 takes 16 KiB, before base64 (EC2 documentation, "Run commands when you launch an EC2 instance").
const LIMIT: usize = 16 * 1024;

/// A SHA-256 in hexadecimal, which a gap becomes.
const HASH: usize = 64;

/// The user data of a group's machines.
pub(crate) fn of(builder: &Builder<'_>, group: &InstanceGroup) -> Result<String, ModelError> {
    let script = match &builder.facts.store {
        Some(store) if group.role != Role::Bastion => script(builder, group, store),
        _ => String::new(),
    };
    let text = match group.additional_user_data.as_slice() {
        [] => script,
        further => {
            let own = Part { name: "kcl-node.sh", content_type: "text/x-shellscript", content: &script };
            let own = [own].into_iter().filter(|part| !part.content.is_empty());
            let further = further.iter().map(|part| Part {
                name: &part.name,
                content_type: &part.content_type,
                content: &part.content,
            });
            multipart(&own.chain(further).collect::<Vec<_>>())
        }
    };
    let gaps = [AGENT_GAP, CONFIGURATION_GAP].iter().filter(|gap| text.contains(**gap)).count();
    let size = text.len() + gaps * HASH;
    if size > LIMIT {
        return Err(ModelError::UserDataTooLong { group: group.name.clone(), size, limit: LIMIT });
    }
    Ok(text)
}

/// What the gap in a group's user data is filled with: the hash of its configuration.
pub(crate) fn configuration(builder: &Builder<'_>, group: &InstanceGroup) -> Option<Ref> {
    is_told(builder, group).then(|| Ref::to(NodeConfiguration::SCHEMA.kind, &group.name, "sha256"))
}

/// Likewise, the hash of the program.
pub(crate) fn agent(builder: &Builder<'_>, group: &InstanceGroup) -> Option<Ref> {
    let processor = machines::processor(group).as_str();
    is_told(builder, group).then(|| Ref::to(NodeAgent::SCHEMA.kind, processor, "sha256"))
}

fn is_told(builder: &Builder<'_>, group: &InstanceGroup) -> bool {
    group.role != Role::Bastion && builder.facts.store.is_some()
}

/// The script. Everything that is put into it is a name without a character that a shell or systemd would take for its
/// own: cluster, group and bucket by the spec's rules, the folder by [`StoreLocation::is_plain`].
///
/// The bucket may be in another region than the machine: S3 says so to anybody who asks for its head.
fn script(builder: &Builder<'_>, group: &InstanceGroup, store: &StoreLocation) -> String {
    let folder = store.folder(builder.name());
    let (bucket, group_name) = (&store.bucket, &group.name);
    let suffix = builder.facts.dns_suffix();
    let processor = machines::processor(group).as_str();
    format!(
        r#"#!/bin/sh
# Fetches kcl-node, which makes this machine a member of {cluster}.
set -u
agent={AGENT_GAP}
configuration={CONFIGURATION_GAP}
program=/usr/local/bin/kcl-node
if [ -r /etc/kcl-node.env ]; then . /etc/kcl-node.env; fi
imds=${{AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}}/latest
md() {{ curl -fsS -m 5 -H "x-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"; }}
field() {{ printf '%s' "$role" | tr -d '\n' | sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }}
fetch() {{
  token=$(curl -fsS -m 5 -X PUT -H 'x-aws-ec2-metadata-token-ttl-seconds: 300' "$imds/api/token") || return 1
  region=$(md placement/region) || return 1
  role=$(md iam/security-credentials/) && role=$(md "iam/security-credentials/$role") || return 1
  s3=${{AWS_ENDPOINT_URL_S3:-https://s3.$region.{suffix}}}
  there=$(curl -sS -m 10 -I "$s3/{bucket}" | tr -d '\r' | sed -n 's/^[Xx]-[Aa]mz-[Bb]ucket-[Rr]egion: *//p')
  region=${{there:-$region}}
  s3=${{AWS_ENDPOINT_URL_S3:-https://s3.$region.{suffix}}}
  url=$s3/{bucket}/{folder}/kcl-node/{processor}/$agent
  case $(curl --version) in
  "curl 7."[0-7]* | "curl 7.8"[0-5].*) # They do not sign all headers, which S3 wants.
    printf '%s' "$role" | python3 -c '{PRESIGN}' "$(date -u +%Y%m%dT%H%M%SZ)" "$region" "$url" |
      curl -fsS -m 300 -K - -o "$program.new" || return 1 ;;
  *)
    printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' \
      "$(field AccessKeyId)" "$(field SecretAccessKey)" "$(field Token)" |
      curl -fsS -m 300 -K - --aws-sigv4 "aws:amz:$region:s3" \
        -H 'x-amz-content-sha256: {EMPTY}' -o "$program.new" "$url" || return 1 ;;
  esac
  echo "$agent  $program.new" | sha256sum -c --status
}}
tries=0
until fetch; do
  tries=$((tries + 1))
  echo "try $tries: kcl-node could not be fetched from s3://{bucket}/{folder}" >&2
  if [ "$tries" -lt 12 ]; then sleep 5; else sleep 30; fi
done
chmod 0755 "$program.new" && mv "$program.new" "$program" || exit 1
cat > /etc/systemd/system/kcl-node.service <<END
[Unit]
Description=Makes this machine a member of {cluster}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=-/etc/kcl-node.env
ExecStart=$program bootstrap --config s3://{bucket}/{folder}/node/{group_name}/$configuration.yaml --sha256 $configuration
Restart=on-failure
RestartSec=15
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable kcl-node.service
systemctl start --no-block kcl-node.service
"#,
        cluster = builder.name(),
    )
}

/// Signs a request by its URL (Amazon S3 API reference, "Authenticating Requests: Using Query Parameters"), for curl
/// before 7.86: of the headers it signs the host and the date alone, and S3 refuses a request with any other `x-amz-`
/// header that is not signed, as the token of a role is. Distributions that have such a curl have Python, for cloud-init.
///
/// Takes the role's credentials on its standard input, for nobody to see them; gives curl's configuration.
const PRESIGN: &str = r#"import hashlib, hmac, json, sys, urllib.parse as u
role, (at, region, url) = json.load(sys.stdin), sys.argv[1:]
scope = at[:8] + "/" + region + "/s3/aws4_request"
query = u.urlencode([("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
  ("X-Amz-Credential", role["AccessKeyId"] + "/" + scope), ("X-Amz-Date", at), ("X-Amz-Expires", "300"),
  ("X-Amz-Security-Token", role["Token"]), ("X-Amz-SignedHeaders", "host")])
to = u.urlsplit(url)
ask = "\n".join(["GET", to.path, query, "host:" + to.netloc, "", "host", "UNSIGNED-PAYLOAD"])
text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(ask.encode()).hexdigest()])
key = ("AWS4" + role["SecretAccessKey"]).encode()
for part in scope.split("/") + [text]: key = hmac.new(key, part.encode(), "sha256").digest()
print("url = %s?%s&X-Amz-Signature=%s" % (url, query, key.hex()))"#;

/// The SHA-256 of nothing: what a request without a body carries.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Part<'a> {
    name: &'a str,
    content_type: &'a str,
    content: &'a str,
}

/// MIME multipart, as cloud-init reads it. The boundary comes from the content: the same parts give the
/// same text in every run, and no part can hold it.
fn multipart(parts: &[Part<'_>]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.content.as_bytes());
    }
    let boundary = format!("kcl-{}", &hex::encode(hash.finalize())[..24]);
    let mut text = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n");
    for part in parts {
        let encoding = if part.content.is_ascii() { "7bit" } else { "8bit" };
        let end = if part.content.ends_with('\n') { "" } else { "\n" };
        let _ = write!(
            text,
            "--{boundary}\nContent-Disposition: attachment; filename=\"{}\"\n\
             Content-Transfer-Encoding: {encoding}\nContent-Type: {}\nMIME-Version: 1.0\n\n{}{end}",
            part.name, part.content_type, part.content
        );
    }
    let _ = writeln!(text, "--{boundary}--");
    text
}
