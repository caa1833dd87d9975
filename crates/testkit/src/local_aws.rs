//! [`LocalAws`]: an AWS account on this machine, for one test or one demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use hyper::Method;

use crate::call::Call;
use crate::error::Error;
use crate::faults::{self, Fault, Halt, Moment, Point, Strikes, When};
use crate::front::{Front, counts, locked, runtime};
use crate::moto::{Flavour, Moto};
use crate::rules::{self, After, Before, Decision, Gate, Reply, Rule, Said, TargetState};
use crate::upstream::{Ask, CLASSIC_ELB, Upstream};
use crate::wire::Response;
use crate::xml::Element;

/// How the front behaves.
#[derive(Debug, Clone)]
pub struct FrontConfig {
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// Region that [`LocalAws::env`] names.
    pub region: String,
    /// How often a new NAT gateway is seen `pending`, and a deleted one `deleting`.
    pub nat_asks: u32,
    /// How often a new network load balancer is seen `provisioning`.
    pub load_balancer_asks: u32,
    /// How often the network interfaces of a deleted load balancer are still in the way.
    pub interface_asks: u32,
    /// How often the machines of a deleted group are seen `shutting-down`.
    pub group_asks: u32,
    /// Whether a launch template that a group uses can be deleted. AWS does not stop it; what loses its
    /// template that way can start no machine any more, so that here it is refused.
    pub keep_used_launch_templates: bool,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            port: 0,
            region: "eu-north-1".to_owned(),
            nat_asks: 1,
            load_balancer_asks: 1,
            interface_asks: 2,
            group_asks: 1,
            keep_used_launch_templates: true,
        }
    }
}

impl FrontConfig {
    /// Nothing takes time.
    #[must_use]
    pub fn instant() -> Self {
        Self { nat_asks: 0, load_balancer_asks: 0, interface_asks: 0, group_asks: 0, ..Self::default() }
    }
}

/// An AWS account on this machine: moto behind the front.
///
/// Gone when dropped. S3 bucket names are one namespace for all accounts of a server, as on AWS: with
/// [`LocalAws::shared`] put [`LocalAws::account`] into the name.
pub struct LocalAws {
    front: Front,
    ask: Ask,
    config: FrontConfig,
    account: String,
    moto: Arc<Moto>,
    targets: Said,
}

impl LocalAws {
    /// With a moto of its own, account 123456789012.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(FrontConfig::default())
    }

    /// Likewise, configured.
    pub fn start_with(config: FrontConfig) -> Result<Self, Error> {
        Self::on(Arc::new(Moto::start(Flavour::Mended)?), "123456789012", config)
    }

    /// With this process's common moto (started by the first that asks), in an account of its own.
    pub fn shared() -> Result<Self, Error> {
        Self::shared_with(FrontConfig::default())
    }

    /// Likewise, configured.
    pub fn shared_with(config: FrontConfig) -> Result<Self, Error> {
        // Kept until the process ends, which ends moto too.
        static SHARED: Mutex<Option<Arc<Moto>>> = Mutex::new(None);
        static ACCOUNTS: AtomicU64 = AtomicU64::new(0);
        let moto = {
            let mut shared = locked(&SHARED);
            if let Some(moto) = &*shared {
                Arc::clone(moto)
            } else {
                let moto = Arc::new(Moto::start(Flavour::Mended)?);
                *shared = Some(Arc::clone(&moto));
                moto
            }
        };
        let number = ACCOUNTS.fetch_add(1, Ordering::Relaxed);
        let account = 200_000_000_000 + u64::from(process::id() % 100_000) * 1_000_000 + number;
        Self::on(moto, &account.to_string(), config)
    }

    /// The account as it is now, once more: what happens to either is nothing to the other. Nothing may be under
    /// way. What the front remembers beside moto (what is still going away) is forgotten.
    pub fn copy(&self) -> Result<Self, Error> {
        let config = FrontConfig { port: 0, ..self.config.clone() };
        Self::on(Arc::new(self.moto.copy()?), &self.account, config)
    }

    fn on(moto: Arc<Moto>, account: &str, config: FrontConfig) -> Result<Self, Error> {
        let upstream = Arc::new(Upstream::new(moto.address(), account));
        let ask = Ask::new(Arc::clone(&upstream), &config.region);
        let targets = Said::default();
        let front = Front::start(
            config.port,
            upstream,
            moto.log().to_owned(),
            rules::of_aws(&config, Arc::clone(&targets)),
        )?;
        Ok(Self { front, ask, config, account: account.to_owned(), moto, targets })
    }

    /// Where kcl finds it: the value of `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        url(self.front.address())
    }

    /// The same account past rules and recording, for tampering and auditing.
    pub fn direct_endpoint(&self) -> String {
        url(self.front.direct())
    }

    /// moto's own address, without account: the canary tests look there.
    pub fn moto_endpoint(&self) -> String {
        url(self.moto.address())
    }

    /// Account number.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Region, as in [`LocalAws::env`].
    pub fn region(&self) -> &str {
        &self.config.region
    }

    /// The variables with which kcl, or any AWS tool, uses it and nothing else. Any other `AWS_` variable
    /// of the caller should be removed (`AWS_PROFILE` above all).
    pub fn env(&self) -> Vec<(String, String)> {
        let nowhere = if cfg!(windows) { "NUL" } else { "/dev/null" };
        [
            ("AWS_ENDPOINT_URL", self.endpoint().as_str()),
            ("AWS_ACCESS_KEY_ID", "AKIDLOCALAWSTEST"),
            ("AWS_SECRET_ACCESS_KEY", "local-aws-secret"),
            ("AWS_REGION", self.region()),
            ("AWS_DEFAULT_REGION", self.region()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", nowhere),
            ("AWS_SHARED_CREDENTIALS_FILE", nowhere),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The calls so far, in the order in which they came.
    pub fn calls(&self) -> Vec<Call> {
        self.front.calls()
    }

    /// Likewise, and forgets them.
    pub fn take_calls(&self) -> Vec<Call> {
        self.front.take_calls()
    }

    /// Those that change something.
    pub fn mutating_calls(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.mutating).collect()
    }

    /// How often each call was made, by `service:Action`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        counts(&self.calls())
    }

    /// How often one call was made.
    pub fn count(&self, service: &str, action: &str) -> usize {
        self.calls().iter().filter(|call| call.is(service, action)).count()
    }

    /// Calls that moto could not do, as `service:Action`. A test that made some has proved nothing.
    pub fn unsupported(&self) -> Vec<String> {
        self.front.unsupported()
    }

    /// Blocks public access to all S3 buckets of the account with all four settings, or lifts that again
    /// (a new account has no such block, its new buckets have one each). Past the rules. What kcl or a test
    /// would do itself: S3 Control's `PutPublicAccessBlock`.
    pub fn block_public_access(&self, on: bool) -> Result<(), Error> {
        let ask = self.ask.clone();
        let settings = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];
        let settings = settings.map(|name| format!("<{name}>true</{name}>")).concat();
        let body = format!(
            "<PublicAccessBlockConfiguration xmlns=\"http://awss3control.amazonaws.com/doc/2018-08-20/\">\
             {settings}</PublicAccessBlockConfiguration>"
        );
        let (sender, receiver) = mpsc::channel();
        runtime()?.spawn(async move {
            let method = if on { Method::PUT } else { Method::DELETE };
            drop(sender.send(ask.account_public_access_block(method, &body).await));
        });
        let failed = |status, body| Error::Call { action: "PutPublicAccessBlock".to_owned(), status, body };
        match receiver.recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(response)) => Err(failed(response.status.as_u16(), response.text())),
            Err(error) => Err(failed(0, error.to_string())),
        }
    }

    /// From now on, this is the health of the targets of the groups whose names begin like this (`http-`), as far
    /// as they would be healthy otherwise: they are, at once, until a test says something else.
    pub fn set_target_health(&self, group: &str, state: TargetState) {
        locked(&self.targets).insert(group.to_owned(), state);
    }

    /// Puts a rule around all others.
    pub fn add_rule(&self, rule: Arc<dyn Rule>) {
        self.front.add_rule(rule);
    }

    /// Holds every call of `action` until the gate is opened.
    pub fn hold(&self, service: &str, action: &str) -> Gate {
        let (gate, held) = rules::gate(service, action);
        self.add_rule(Arc::new(held));
        gate
    }

    /// Puts a fault around the account, at the calls that `when` means. `seed` decides what is left to chance.
    pub fn inject(&self, fault: Fault, when: When, seed: u64) -> Strikes {
        let (strikes, injection) = faults::injection(fault, when, seed);
        self.add_rule(Arc::new(injection));
        strikes
    }

    /// Holds one call, until the test has done to kcl what it wants to; its answer is lost then.
    pub fn halt(&self, point: Point, moment: Moment) -> Halt {
        let (halt, held) = faults::halt(point, moment);
        self.add_rule(Arc::new(held));
        halt
    }

    /// Decides about calls before they are made: the short way to inject a fault.
    pub fn before(&self, decide: impl Fn(&Call) -> Decision + Send + Sync + 'static) {
        self.add_rule(Arc::new(Before(decide)));
    }

    /// Decides about answers: lost, or other ones.
    pub fn after(&self, decide: impl Fn(&Call, Response) -> Reply + Send + Sync + 'static) {
        self.add_rule(Arc::new(After(decide)));
    }

    /// Takes the rules away that were added.
    pub fn clear_rules(&self) {
        self.front.clear_rules();
    }

    /// Makes a call past the rules, in the region of [`LocalAws::env`]: `aws.direct("ec2", "DescribeVpcs",
    /// &[])`. For `ec2`, `elasticloadbalancing`, `autoscaling`, `iam`, and `classic-elb`: classic load balancers,
    /// which share their service's name with the others.
    pub fn direct(&self, service: &str, action: &str, params: &[(&str, &str)]) -> Result<Element, Error> {
        let ask = self.ask.clone();
        let service = service.to_owned();
        let name = action.to_owned();
        let owned: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let version = match service.as_str() {
            "classic-elb" => CLASSIC_ELB,
            "elasticloadbalancing" => "2015-12-01",
            "autoscaling" => "2011-01-01",
            "iam" => "2010-05-08",
            "sts" => "2011-06-15",
            _ => "2016-11-15",
        };
        // A channel rather than block_on, so that it can be used within a runtime too.
        let (sender, receiver) = mpsc::channel();
        runtime()?.spawn(async move {
            let params: Vec<(&str, &str)> = owned.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let service = if service == "classic-elb" { "elasticloadbalancing" } else { &service };
            let result = ask.query(service, version, &name, &params).await;
            drop(sender.send(result));
        });
        let failed = |status, body| Error::Call { action: action.to_owned(), status, body };
        match receiver.recv() {
            Ok(Ok(element)) => Ok(element),
            Ok(Err(response)) => Err(failed(response.status.as_u16(), response.text())),
            Err(error) => Err(failed(0, error.to_string())),
        }
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
