//! S3 without a signature, the blocks against public access, and web identities: what pods and AWS itself
//! lean on when they read a cluster's discovery documents from a bucket.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{Answer, Client, through};
use kcl_testkit::LocalAws;

const DISCOVERY: &str = "c/.well-known/openid-configuration";
const BLOCK: &str = "publicAccessBlock";

/// A bucket with three objects, and how it is used.
struct Bucket<'a> {
    aws: &'a LocalAws,
    client: Client,
    name: String,
}

impl<'a> Bucket<'a> {
    fn new(aws: &'a LocalAws, name: &str) -> Self {
        let name = format!("{name}-{}", aws.account());
        let bucket = Self { aws, client: through(aws), name };
        bucket.client.bucket(&bucket.name);
        for key in [DISCOVERY, "c/openid/v1/jwks", "c/pki/private"] {
            bucket.signed("PUT", &format!("/{key}"), &format!("{{\"key\":\"{key}\"}}")).ok();
        }
        bucket
    }

    fn signed(&self, method: &str, rest: &str, body: &str) -> Answer {
        self.client.http(method, &format!("/{}{rest}", self.name), Some("s3"), &[], body)
    }

    fn anonymous(&self, method: &str, rest: &str) -> Answer {
        self.client.http(method, &format!("/{}{rest}", self.name), None, &[], "")
    }

    /// A read without a signature: the status, and the error's code if there is one.
    fn read(&self, key: &str) -> (u16, String) {
        let answer = self.anonymous("GET", &format!("/{key}"));
        (answer.status, if answer.status < 300 { String::new() } else { answer.code() })
    }

    /// Allows everybody to read the discovery documents, with more statements.
    fn open(&self, more: &str) -> Answer {
        let name = &self.name;
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"*"}},
                "Action":"s3:GetObject","Resource":["arn:aws:s3:::{name}/c/.well-known/*",
                "arn:aws:s3:::{name}/c/openid/v?/jwks"]}}{more}]}}"#
        );
        self.signed("PUT", "?policy", &policy)
    }

    /// Sets the bucket's block to these settings.
    fn block(&self, settings: &[&str]) {
        let settings: Vec<_> = settings.iter().map(|name| format!("<{name}>true</{name}>")).collect();
        let body =
            format!("<PublicAccessBlockConfiguration>{}</PublicAccessBlockConfiguration>", settings.concat());
        self.signed("PUT", &format!("?{BLOCK}"), &body).ok();
    }

    fn lift_policy(&self) {
        assert!(self.signed("DELETE", "?policy", "").status < 300);
    }

    fn lift_block(&self) {
        assert!(self.signed("DELETE", &format!("?{BLOCK}"), "").status < 300);
    }
}

fn fine() -> (u16, String) {
    (200, String::new())
}

fn denied() -> (u16, String) {
    (403, "AccessDenied".to_owned())
}

#[test]
fn everybody_reads_what_the_policy_opens() {
    let aws = LocalAws::shared().unwrap();
    let bucket = Bucket::new(&aws, "open");
    assert_eq!(bucket.read(DISCOVERY), denied());
    bucket.lift_block();
    assert_eq!(bucket.read(DISCOVERY), denied(), "no policy");
    assert!(bucket.open("").status < 300);

    assert_eq!(bucket.read(DISCOVERY), fine());
    assert_eq!(
        bucket.anonymous("GET", &format!("/{DISCOVERY}")).body,
        format!("{{\"key\":\"{DISCOVERY}\"}}")
    );
    assert_eq!(bucket.anonymous("HEAD", &format!("/{DISCOVERY}")).status, 200);
    assert_eq!(bucket.read("c/openid/v1/jwks"), fine());
    assert_eq!(bucket.read("c/pki/private"), denied());
    // Not what is not there, either.
    assert_eq!(bucket.read("c/.well-known/nothing"), denied());
    assert_eq!(bucket.anonymous("HEAD", "/c/.well-known/nothing").status, 403);
    assert_eq!(bucket.anonymous("GET", "-not/x").code(), "NoSuchBucket");
    assert_eq!(bucket.anonymous("GET", "-not/x").status, 404);
    // Nothing but reading.
    for (method, rest) in [
        ("GET", ""),
        ("GET", "?list-type=2"),
        ("GET", "?policy"),
        ("PUT", "/c/.well-known/openid-configuration"),
        ("DELETE", "/c/.well-known/openid-configuration"),
        ("PUT", "-new"),
        ("POST", "?delete"),
        ("DELETE", &format!("?{BLOCK}")),
    ] {
        let answer = bucket.anonymous(method, rest);
        assert_eq!((answer.status, answer.code().as_str()), (403, "AccessDenied"), "{method} {rest}");
    }
    assert_eq!(bucket.anonymous("HEAD", "").status, 403);
    // A presigned URL is a signature.
    let credential = "X-Amz-Credential=AKID%2F20260101%2Feu-north-1%2Fs3%2Faws4_request";
    bucket.lift_policy();
    for key in ["c/pki/private", DISCOVERY] {
        bucket.anonymous("GET", &format!("/{key}?X-Amz-Signature=0&{credential}")).ok();
    }
    assert!(aws.unsupported().is_empty());
}

#[test]
fn a_denial_closes_what_is_open() {
    let aws = LocalAws::shared().unwrap();
    let bucket = Bucket::new(&aws, "deny");
    bucket.lift_block();
    let deny = format!(
        r#",{{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::{}/c/.well-*"}}"#,
        bucket.name
    );
    assert!(bucket.open(&deny).status < 300);
    assert_eq!(bucket.read(DISCOVERY), denied());
    assert_eq!(bucket.read("c/openid/v1/jwks"), fine());
    // Those who are signed as well.
    let signed = bucket.signed("GET", &format!("/{DISCOVERY}"), "");
    assert_eq!((signed.status, signed.code().as_str()), (403, "AccessDenied"));
    assert_eq!(bucket.signed("HEAD", &format!("/{DISCOVERY}"), "").status, 403);
    bucket.signed("GET", "/c/pki/private", "").ok();
    // What has conditions, or is about others, is not about them.
    let (condition, others) =
        (r#""Bool":{"aws:SecureTransport":"false"}"#, r#"{"AWS":"arn:aws:iam::111122223333:root"}"#);
    let deny = format!(
        r#",{{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{{{condition}}}}},
            {{"Effect":"Deny","Principal":{others},"Action":"s3:*","Resource":"*"}}"#
    );
    assert!(bucket.open(&deny).status < 300);
    bucket.signed("GET", &format!("/{DISCOVERY}"), "").ok();
    assert_eq!(bucket.read(DISCOVERY), fine());
    // What is private already may be written under any block.
    bucket.block(&["BlockPublicPolicy"]);
    let somebody = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{}:root"}},
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::{}/*"}}}}"#,
        aws.account(),
        bucket.name
    );
    assert!(bucket.signed("PUT", "?policy", &somebody).status < 300);
    assert_eq!(bucket.read("c/openid/v1/jwks"), denied());
    assert!(aws.unsupported().is_empty());
}

#[test]
fn a_bucket_blocks_public_access() {
    let aws = LocalAws::shared().unwrap();
    let bucket = Bucket::new(&aws, "block");
    let settings = |bucket: &Bucket<'_>| bucket.signed("GET", &format!("?{BLOCK}"), "").ok();
    let new = settings(&bucket);
    for setting in ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"] {
        assert_eq!(new.value(setting), "true", "{setting}");
    }
    let refused = bucket.open("");
    assert_eq!((refused.status, refused.code().as_str()), (403, "AccessDenied"));
    assert!(refused.body.contains("BlockPublicPolicy setting in S3 Block Public Access"), "{refused:?}");
    bucket.block(&["RestrictPublicBuckets"]);
    assert!(bucket.open("").status < 300);
    assert_eq!(bucket.read(DISCOVERY), denied());
    // This one is about new policies only.
    bucket.block(&["BlockPublicPolicy"]);
    assert_eq!(bucket.read(DISCOVERY), fine());
    bucket.lift_block();
    assert_eq!(bucket.signed("GET", &format!("?{BLOCK}"), "").code(), "NoSuchPublicAccessBlockConfiguration");
    assert_eq!(bucket.read(DISCOVERY), fine());
}

#[test]
fn a_bucket_created_again_stays_as_it_is() {
    let aws = LocalAws::shared().unwrap();
    let client = through(&aws);
    let bucket = format!("/again-{}", aws.account());
    let scope = "Credential=AKID/20260101/us-east-1/s3/aws4_request";
    let signature = format!("Authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    let owner = "x-amz-object-ownership: ObjectWriter";
    client.http("PUT", &bucket, None, &[&signature, owner], "").ok();
    let ownership = client.http("GET", &format!("{bucket}?ownershipControls"), None, &[&signature], "").ok();
    assert_eq!(ownership.value("Rule/ObjectOwnership"), "ObjectWriter");
    let block = format!("{bucket}?{BLOCK}");
    client.http("GET", &block, None, &[&signature], "").ok();
    client.http("DELETE", &block, None, &[&signature], "");
    client.http("PUT", &bucket, None, &[&signature], "").ok();
    let found = client.http("GET", &block, None, &[&signature], "");
    assert_eq!(found.code(), "NoSuchPublicAccessBlockConfiguration");
}

#[test]
fn an_account_blocks_public_access() {
    let (aws, other) = (LocalAws::shared().unwrap(), LocalAws::shared().unwrap());
    let bucket = Bucket::new(&aws, "account");
    bucket.lift_block();
    assert!(bucket.open("").status < 300);
    assert_eq!(bucket.read(DISCOVERY), fine());

    aws.block_public_access(true).unwrap();
    assert_eq!(bucket.read(DISCOVERY), denied());
    assert_eq!(bucket.open("").code(), "AccessDenied");
    // Whoever asks: what counts is whose bucket it is.
    let path = format!("/{}/{DISCOVERY}", bucket.name);
    let elsewhere = || through(&other).http("GET", &path, None, &[], "").status;
    assert_eq!(elsewhere(), 403);
    other.block_public_access(true).unwrap();
    aws.block_public_access(false).unwrap();
    assert_eq!(elsewhere(), 200);
    assert_eq!(bucket.read(DISCOVERY), fine());

    // The call that does it, through the front.
    let account = format!("x-amz-account-id: {}", bucket.aws.account());
    let call = |method: &str, body: &str| {
        let path = "/v20180820/configuration/publicAccessBlock";
        bucket.client.http(method, path, Some("s3"), &[&account], body)
    };
    assert_eq!(call("GET", "").code(), "NoSuchPublicAccessBlockConfiguration");
    let body = "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>\
                </PublicAccessBlockConfiguration>";
    call("PUT", body).ok();
    assert_eq!(call("GET", "").ok().value("RestrictPublicBuckets"), "true");
    assert_eq!(bucket.read(DISCOVERY), denied());
    assert!(bucket.open("").status < 300, "public policies are not blocked");
    call("DELETE", "").ok();
    assert_eq!(bucket.read(DISCOVERY), fine());
    assert_eq!(aws.count("s3", "PutAccountPublicAccessBlock"), 1);
    let unsigned =
        bucket.client.http("PUT", "/v20180820/configuration/publicAccessBlock", None, &[&account], body);
    assert_eq!((unsigned.status, unsigned.code().as_str()), (403, "AccessDenied"));
}

/// Neither the token nor the role's trust is looked at: whoever asks gets the role.
#[test]
fn a_web_identity_gets_its_role() {
    let aws = LocalAws::shared().unwrap();
    let client = through(&aws);
    let role = format!("arn:aws:iam::{}:role/pods", aws.account());
    // {"alg":"RS256","kid":"k"}.{"sub":"system:serviceaccount:a:b"}.sig
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6YTpiIn0.c2ln";
    let form = "Content-Type: application/x-www-form-urlencoded";
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pod&RoleArn={role}&WebIdentityToken={token}"
    );
    let assumed = client.http("POST", "/", None, &[form], &body).ok();
    let result = assumed.get("AssumeRoleWithWebIdentityResult").unwrap();
    // All that the SDKs ask for.
    for name in ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"] {
        assert!(!result.value(&format!("Credentials/{name}")).is_empty(), "{name}");
    }
    let session = format!("arn:aws:sts::{}:assumed-role/pods/pod", aws.account());
    assert_eq!(result.value("AssumedRoleUser/Arn"), session);
    let signature = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={}/20260101/eu-north-1/sts/aws4_request, SignedHeaders=host, \
         Signature=0",
        result.value("Credentials/AccessKeyId")
    );
    let who = "Action=GetCallerIdentity&Version=2011-06-15";
    let me = client.http("POST", "/", None, &[form, &signature], who).ok();
    assert_eq!(me.value("GetCallerIdentityResult/Arn"), session);
    assert_eq!(aws.count("sts", "AssumeRoleWithWebIdentity"), 1);
    assert!(aws.mutating_calls().is_empty());
}
