//! The connection to one AWS account and region.

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kcl_spec::cluster::IssuerBucket;
use sha2::{Digest, Sha256};

use crate::busy::Busy;
use crate::discovery::PublicReads;
use crate::error::{During, Error, ErrorKind};
use crate::fresh::Fresh;
use crate::guard::Guard;
use crate::kind::Service;
use crate::others::Others;
use crate::refusals::Refusals;
use crate::regional::Regional;
use crate::store::Store;
use crate::store::configurations::Turns;
use crate::store::lock::Fence;
use crate::store::registration::Registration;

/// How to reach AWS. What is not given comes from the standard variables and profiles.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The region, where it is not the environment's.
    pub region: Option<String>,
    /// The profile.
    pub profile: Option<String>,
    /// How often each service has said that there are too many calls: over all connections that are made so.
    pub(crate) refusals: Refusals,
}

impl Settings {
    /// This region and profile.
    pub fn new(region: Option<String>, profile: Option<String>) -> Self {
        Self { region, profile, refusals: Refusals::default() }
    }
}

/// A connected account: the clients, and who and where we are.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The account's id.
    pub account: String,
    /// The region.
    pub region: String,
    /// `aws`, `aws-cn`, `aws-us-gov`...
    pub partition: String,
    /// The state store, once it is known.
    pub(crate) state: Option<Arc<dyn Store>>,
    /// The cluster whose state it is.
    pub(crate) cluster: Option<Arc<str>>,
    /// The spec to register. It may hold secrets, so it never stands in a plan.
    pub(crate) registration: Option<Arc<Registration>>,
    /// Builds of kcl-node to upload, by the kind of processor.
    pub(crate) node_agents: Arc<BTreeMap<String, PathBuf>>,
    /// Where the cluster's service-account issuer publishes, where a spec names one.
    pub(crate) issuer: Option<IssuerBucket>,
    /// S3 without credentials.
    pub(crate) public: Arc<PublicReads>,
    /// Makes client tokens of this run unlike those of any other: a token used again after what it made was
    /// deleted would give back the deleted thing.
    run: String,
    /// How often each service has said that there are too many calls.
    pub(crate) refusals: Refusals,
    /// What this run has just made.
    fresh: Fresh,
    /// Whether anything may still be changed.
    guard: Guard,
    /// The steps of the run under way.
    pub(crate) others: Others,
    /// Which of them changes the index of node configurations.
    pub(crate) index_turns: Turns,
    pub(crate) ec2: aws_sdk_ec2::Client,
    /// EC2 without the SDK's retries, for what has no client token.
    pub(crate) ec2_once: aws_sdk_ec2::Client,
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) elb: aws_sdk_elasticloadbalancingv2::Client,
    /// Classic load balancers: the same service in an older version of its API.
    pub(crate) classic_elb: aws_sdk_elasticloadbalancing::Client,
    pub(crate) autoscaling: aws_sdk_autoscaling::Client,
    pub(crate) route53: aws_sdk_route53::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) events: aws_sdk_eventbridge::Client,
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) tagging: aws_sdk_resourcegroupstagging::Client,
}

/// One try, and four more when AWS fails or says nothing at all; what it says to be too many calls is tried more often
/// ([`crate::refusals`]). The SDK's standard mode waits at random between zero and a doubling ceiling (1, 2, 4, 8 s, up
/// to 20 s).
const ATTEMPTS: u32 = 5;

impl Aws {
    /// Connects: finds credentials and asks who they belong to.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        Self::over(&load(settings).await, settings.refusals.clone()).await
    }

    /// Connects with a configuration that is complete.
    pub(crate) async fn over(config: &SdkConfig, refusals: Refusals) -> Result<Self, Error> {
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(Error::new(ErrorKind::NoRegion, "connecting to AWS", "no region is set"));
        };
        let sts = aws_sdk_sts::config::Builder::from(config).interceptor(refusals.listener(Service::Other));
        let identity = aws_sdk_sts::Client::from_conf(sts.build())
            .get_caller_identity()
            .send()
            .await
            .during("sts:GetCallerIdentity")?;
        let missing = || Error::unexpected("sts:GetCallerIdentity", "account");
        let account = identity.account().ok_or_else(missing)?.to_owned();
        // arn:<partition>:sts::<account>:...
        let partition = identity.arn().and_then(|arn| arn.split(':').nth(1)).ok_or_else(missing)?.to_owned();
        let (fresh, guard) = (Fresh::default(), Guard::default());
        // Each service has a type of its own for what is the same.
        macro_rules! builder {
            ($sdk:ident, $service:ident) => {
                $sdk::config::Builder::from(config)
                    .interceptor(refusals.listener(Service::$service))
                    .interceptor(fresh.clone())
                    .interceptor(guard.clone())
                    .retry_classifier(fresh.clone())
                    .retry_classifier(Busy)
            };
        }
        let ec2 = builder!(aws_sdk_ec2, Ec2);
        let once = ec2.clone().retry_config(RetryConfig::disabled()).build();
        macro_rules! client {
            ($sdk:ident, $service:ident) => {
                $sdk::Client::from_conf(builder!($sdk, $service).build())
            };
        }
        Ok(Self {
            account,
            region,
            partition,
            fresh: fresh.clone(),
            guard: guard.clone(),
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            ec2_once: aws_sdk_ec2::Client::from_conf(once),
            iam: client!(aws_sdk_iam, Iam),
            elb: client!(aws_sdk_elasticloadbalancingv2, Elb),
            classic_elb: client!(aws_sdk_elasticloadbalancing, Elb),
            autoscaling: client!(aws_sdk_autoscaling, AutoScaling),
            route53: client!(aws_sdk_route53, Route53),
            sqs: client!(aws_sdk_sqs, Other),
            events: client!(aws_sdk_eventbridge, Other),
            ssm: client!(aws_sdk_ssm, Other),
            s3: client!(aws_sdk_s3, Other),
            tagging: client!(aws_sdk_resourcegroupstagging, Other),
            public: Arc::new(PublicReads::new(config, &refusals)),
            refusals,
            others: Others::default(),
            index_turns: Turns::default(),
            state: None,
            cluster: None,
            registration: None,
            node_agents: Arc::default(),
            issuer: None,
            run: run_id(),
        })
    }

    /// The same account, with the state store that the spec and keys of `cluster` live in.
    #[must_use]
    pub fn with_state(mut self, state: Arc<dyn Store>, cluster: &str) -> Self {
        state.expect_owner(&self.account);
        self.state = Some(state);
        self.cluster = Some(Arc::from(cluster));
        self
    }

    /// The same account, with the spec to register.
    #[must_use]
    pub fn with_registration(mut self, registration: Registration) -> Self {
        self.registration = Some(Arc::new(registration));
        self
    }

    /// The same account, with the builds of kcl-node to upload: kind of processor (`amd64`, `arm64`) to file.
    #[must_use]
    pub fn with_node_agents(mut self, builds: BTreeMap<String, PathBuf>) -> Self {
        self.node_agents = Arc::new(builds);
        self
    }

    /// The same account, with the place where the cluster's service-account issuer publishes.
    #[must_use]
    pub fn with_issuer(mut self, issuer: Option<IssuerBucket>) -> Self {
        self.issuer = issuer;
        self
    }

    /// The state store, once it is known.
    pub fn state(&self) -> Option<&dyn Store> {
        self.state.as_deref()
    }

    /// The state store, and the cluster whose state it holds: what works on that state cannot do without.
    pub(crate) fn state_of_cluster(&self) -> Result<(&dyn Store, &str), Error> {
        match (self.state.as_deref(), self.cluster.as_deref()) {
            (Some(store), Some(cluster)) => Ok((store, cluster)),
            _ => Err(Error::new(ErrorKind::Unexpected, "state store", "there is none")),
        }
    }

    /// What was read so far may be out of date: it is read again when it is needed.
    pub fn forget_reads(&self) {
        self.public.forget_all();
        if let Some(store) = &self.state {
            store.forget_reads();
        }
    }

    /// From now on nothing is changed unless the lock of `fence` is certainly held: what is tried all the same is an
    /// error, be it the next try of a call that was begun before.
    pub fn change_under(&self, fence: Fence) {
        self.guard.set(fence);
    }

    /// Whether an error says of something that this run has just made that it is not there: that passes. What a spec
    /// names and nobody made stays away.
    pub(crate) fn is_not_known_yet(&self, error: &Error) -> bool {
        error.is_not_found() && self.names_new(error)
    }

    /// Whether an error names something that this run has just made.
    pub(crate) fn names_new(&self, error: &Error) -> bool {
        self.fresh.is_named_in(&error.message)
    }

    /// S3 for one bucket, in whichever region it lies.
    pub(crate) fn bucket(&self, name: &str) -> Regional {
        Regional::new(self.s3.clone(), name.to_owned())
    }

    /// The client token for making `name` with this `content`: the same within a run, so that a retried call
    /// makes one thing.
    pub(crate) fn token(&self, kind: &str, name: &str, content: &impl std::fmt::Debug) -> String {
        // Debug output of plain data is the same for the same data, and never leaves the process.
        hex::encode(Sha256::digest(format!("{} {kind} {name} {content:?}", self.run)))
    }
}

/// Something no other run has.
fn run_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

/// The credentials of a profile that is named. As with the AWS CLI it comes before credentials in the environment:
/// who names one account must not work in another.
async fn of_profile(profile: &str, settings: &Settings) -> ProfileFileCredentialsProvider {
    let provider = match &settings.region {
        Some(region) => ProviderConfig::without_region().with_region(Some(Region::new(region.clone()))),
        None => ProviderConfig::with_default_region().await,
    };
    ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(profile).build()
}

/// How long one try of a call may take that sends so many bytes.
pub(crate) fn timeouts(bytes: usize) -> TimeoutConfig {
    /// A line of half a megabit a second is worth waiting for.
    const BYTES_PER_SECOND: usize = 64 * 1024;
    let sending = Duration::from_secs((bytes / BYTES_PER_SECOND) as u64);
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        // A stalled answer is given up well before a person gives up on kcl.
        .operation_attempt_timeout(Duration::from_secs(30) + sending)
        .build()
}

/// The SDK's configuration for `settings`.
pub(crate) async fn load(settings: &Settings) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts(0));
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile).credentials_provider(of_profile(profile, settings).await);
    }
    loader.load().await
}
