//! One scenario: kOps' spec with its stand-ins replaced, applied by the real binary to an account of its own.
//!
//! kOps' tests run against a cloud that is not there: region `us-test-1`, partition `aws-test`, stores in
//! memory, and ids that nothing stands behind. For us all of that has to exist. In the comparison both sides
//! then carry the same stand-ins.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use kcl_testkit::{Audit, Call, FrontConfig, LocalAws, audit, node_agent_stand_ins, release_server};

const REGION: &str = "eu-north-1";
const ACCOUNT: &str = "123456789012";
const POLICY: &str = "UsersManageOwnCredentials";

/// kOps' tests give a key beside the spec; any will do, as only its fingerprint is seen.
const PUBLIC_KEY: &str = "\
ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCfkHYOAs+A/APp5PYP4ByKuYjD+Cm2Uxu0+9WZkLW74w7lsL+tDytKvVrgzc10\
qTFikbP83lVvVwztiRGqq9N9r0zsp+9X+NoaHKtjALmLrFrRScaGuhz61JPlikwvSmhUV0C/mMLEgIHW9n3lMZHuzat8OTw9bCSS\
aNSy0AO4GDhKGFxpctOkPFe7lg0+0jls0PFu0vJyZ6YjyzmZixZKirTG5xMOhbHrHedsd1WKOIJpKktLIo50CdMca/2+f8jLhOyz\
Z30BD4hKn51JwEXzoCOhodamif03t/eQJhFKiJL6xWuIAqHk4cVT7KdolyGigf2FWyoZSq3WCjTWLcP9 parity";
/// What `ssh-keygen -E md5 -l` says of it.
const FINGERPRINT: &str = "a1:a8:3b:af:5e:d5:d2:17:0f:fe:5d:b3:cc:c4:3e:20";

/// What was applied, and what is there.
pub(crate) struct Applied {
    /// The account before, with the stand-ins of kOps.
    pub(crate) before: Audit,
    /// And after.
    pub(crate) after: Audit,
    /// The calls that kcl made.
    pub(crate) calls: Vec<Call>,
}

/// Pairs of a text and what it is in the comparison.
#[derive(Default)]
pub(crate) struct StandIns {
    kops: Vec<(String, String)>,
    ours: Vec<(String, String)>,
}

impl StandIns {
    /// Replaces in what kOps wrote.
    pub(crate) fn in_kops(&self, text: &str) -> String {
        let text = replace(text, &self.kops);
        match fingerprint(&text) {
            Some(theirs) => text.replace(&theirs, FINGERPRINT),
            None => text,
        }
    }

    fn in_ours(&self, audit: &Audit) -> Audit {
        let text = replace(&audit.document().to_string(), &self.ours);
        serde_json::from_str::<serde_json::Value>(&text).unwrap().into()
    }
}

fn replace(text: &str, pairs: &[(String, String)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The fingerprint in kOps' key pair's name.
fn fingerprint(terraform: &str) -> Option<String> {
    let line =
        terraform.lines().find(|line| line.trim_start().starts_with("key_name") && line.contains(':'))?;
    Some(line.rsplit_once('-')?.1.trim_matches('"').to_owned())
}

/// An account in which one scenario is applied.
pub(crate) struct Scenario {
    aws: LocalAws,
    spec: String,
    stand_ins: StandIns,
}

impl Scenario {
    /// An account with everything in it that the spec takes for granted.
    pub(crate) fn prepare(folder: &Path) -> Self {
        let aws = LocalAws::shared_with(FrontConfig { region: REGION.to_owned(), ..FrontConfig::instant() })
            .unwrap();
        let spec = fs::read_to_string(folder.join("in-v1alpha2.yaml")).unwrap();
        let mut scenario = Self { aws, spec, stand_ins: StandIns::default() };
        scenario.stores();
        scenario.given_by_id();
        scenario.names_and_images();
        let key = format!(
            "\n---\napiVersion: kops.k8s.io/v1alpha2\nkind: SSHCredential\nmetadata:\n  name: admin\n  labels:\n    \
             kops.k8s.io/cluster: {}\nspec:\n  publicKey: {PUBLIC_KEY}\n",
            scenario.cluster()
        );
        scenario.spec.push_str(&key);
        scenario
    }

    /// What stands for what.
    pub(crate) fn stand_ins(&self) -> &StandIns {
        &self.stand_ins
    }

    fn cluster(&self) -> String {
        let name = self.spec.lines().find_map(|line| line.strip_prefix("  name: "));
        name.unwrap().to_owned()
    }

    /// `in_spec` of kOps' spec becomes `real`; both are compared as `compared`.
    fn stand_in(&mut self, in_spec: &str, real: &str, compared: &str) {
        self.spec = self.spec.replace(in_spec, real);
        self.stand_ins.kops.push((in_spec.to_owned(), compared.to_owned()));
        self.stand_ins.ours.push((real.to_owned(), compared.to_owned()));
    }

    fn stores(&mut self) {
        let account = self.aws.account().to_owned();
        // One namespace for all accounts: the account makes the name unique.
        let discovery = format!("discovery-{account}");
        let issuer = format!("s3.{REGION}.amazonaws.com/minimal.example.com");
        self.spec = self.spec.replace("memfs://discovery.example.com", &format!("s3://{discovery}"));
        self.stand_in(
            "discovery.example.com/minimal.example.com",
            &format!("{discovery}.{issuer}"),
            &format!("discovery-store.{issuer}"),
        );
        let state = format!("kcl-state-{account}");
        self.spec = self.spec.replace("memfs://", &format!("s3://{state}/"));
        self.stand_in("placeholder-read-bucket", &state, "state-store");
        self.stand_in("placeholder-write-bucket", &state, "state-store");
        self.stand_in("aws-test", "aws", "aws");
        self.stand_in("us-test-1", REGION, REGION);
        self.stand_in(ACCOUNT, &account, ACCOUNT);
        if self.spec.contains(POLICY) {
            let document = r#"{"Version":"2012-10-17","Statement":[
                {"Effect":"Allow","Action":"iam:GetUser","Resource":"*"}]}"#;
            self.aws
                .direct("iam", "CreatePolicy", &[("PolicyName", POLICY), ("PolicyDocument", document)])
                .unwrap();
        }
    }

    /// The VPC and the security group that specs name by an id.
    fn given_by_id(&mut self) {
        let create = |action: &str, path: &str, params: &[(&str, &str)]| {
            self.aws.direct("ec2", action, params).unwrap().value(path).to_owned()
        };
        let mut made = Vec::new();
        if self.spec.contains("vpc-12345678") {
            let cidr = [("CidrBlock", "172.20.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true")];
            let vpc = create("CreateVpc", "vpc/vpcId", &cidr);
            let gateway = create("CreateInternetGateway", "internetGateway/internetGatewayId", &[]);
            create("AttachInternetGateway", "return", &[("InternetGatewayId", &gateway), ("VpcId", &vpc)]);
            for attribute in ["EnableDnsSupport", "EnableDnsHostnames"] {
                let value = format!("{attribute}.Value");
                create("ModifyVpcAttribute", "return", &[("VpcId", &vpc), (&value, "true")]);
            }
            made = vec![(vpc, "vpc-12345678"), (gateway, "igw-1")];
        }
        if self.spec.contains("sg-exampleid") {
            let group = [("GroupName", "given"), ("GroupDescription", "of the spec's owner")];
            made.push((create("CreateSecurityGroup", "groupId", &group), "sg-exampleid"));
        }
        for (real, stand_in) in made {
            self.stand_in(stand_in, &real, stand_in);
        }
    }

    /// The hosted zone of the API's names, and the image.
    fn names_and_images(&mut self) {
        let body = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
                    <Name>example.com</Name><CallerReference>parity</CallerReference></CreateHostedZoneRequest>";
        let answer = post(&self.aws.direct_endpoint(), "/2013-04-01/hostedzone", "route53", body);
        let zone = answer.split("<Id>").nth(1).and_then(|rest| rest.split("</Id>").next()).unwrap();
        let zone = zone.trim_start_matches("/hostedzone/").to_owned();
        self.stand_in("Z1AFAKE1ZON3YO", &zone, "Z1AFAKE1ZON3YO");

        // kOps takes the first part for the owner, and its mock cloud calls the image by the rest. The real
        // image's name begins with `ubuntu/`, so that the owner has to stand before all of it.
        let image =
            self.spec.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap().to_owned();
        self.spec = self.spec.replace(&image, &format!("099720109477/{image}"));
        let params = [("Filter.1.Name", "name"), ("Filter.1.Value.1", image.as_str())];
        let found = self.aws.direct("ec2", "DescribeImages", &params).unwrap();
        let id = found.value("imagesSet/item/imageId").to_owned();
        self.stand_in("ami-12345678", &id, "ami-12345678");
    }

    /// Applies the spec; `Err` is what kcl said.
    pub(crate) fn apply(&self) -> Result<Applied, String> {
        let before = self.audit()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_kcl"));
        command.args(["create", "cluster", "-f", "-", "--yes"]);
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("KCL_"))
        {
            command.env_remove(name);
        }
        // kOps stops after AWS too.
        command.envs(self.aws.env()).env("KCL_SKIP_BOOTSTRAP", "true");
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let builds = node_agent_stand_ins(folder.path()).map_err(|error| error.to_string())?;
        let builds: Vec<String> = builds.iter().map(|file| file.display().to_string()).collect();
        command.env("KCL_NODE_BINARY", builds.join(","));
        command.env("KCL_FILE_REPOSITORY", release_server().map_err(|error| error.to_string())?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        child.stdin.take().unwrap().write_all(self.spec.as_bytes()).map_err(|error| error.to_string())?;
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            return Err(format!("kcl ended with {}\n{out}\n{err}", output.status));
        }
        let unsupported = self.aws.unsupported();
        if !unsupported.is_empty() {
            return Err(format!("the local AWS cannot do {unsupported:?}"));
        }
        Ok(Applied { before, after: self.audit()?, calls: self.aws.calls() })
    }

    fn audit(&self) -> Result<Audit, String> {
        let audit = audit(&self.aws, REGION).map_err(|error| error.to_string())?;
        Ok(self.stand_ins.in_ours(&audit))
    }
}

/// A signed POST; gives the answer's text.
fn post(endpoint: &str, path: &str, service: &str, body: &str) -> String {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\nAuthorization: \
         AWS4-HMAC-SHA256 Credential=AKID/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, \
         Signature=0\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
