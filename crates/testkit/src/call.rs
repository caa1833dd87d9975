//! Which AWS call a request is.
//!
//! Takes a request; gives service, action and parameters. The service is the one the signature was made
//! for, as in IAM's action names (`elasticloadbalancing`, `events`, `tag`).

use std::collections::BTreeMap;
use std::time::Instant;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};
use percent_encoding::percent_decode_str;

use crate::wire::{Protocol, Request};

/// One AWS call, as the front saw it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// Position among the calls of this front, from 0, in the order in which they came.
    pub number: usize,
    /// Service as in IAM's action names: `ec2`, `iam`, `elasticloadbalancing`, `autoscaling`, `s3`,
    /// `route53`, `sqs`, `events`, `ssm`, `sts`, `tag`.
    pub service: String,
    /// Action: `CreateVpc`, `PutObject`. For requests that are no known call: method and path.
    pub action: String,
    /// Region that the signature was made for.
    pub region: String,
    /// How the service spells its messages.
    pub protocol: Protocol,
    /// Form parameters (query protocols) or the query's (REST), decoded, by their full name
    /// (`Filter.1.Name`).
    pub params: BTreeMap<String, String>,
    /// HTTP method.
    pub method: Method,
    /// Path, decoded.
    pub path: String,
    /// The whole body, as text.
    pub body: String,
    /// The request's headers, without `Authorization`.
    pub headers: HeaderMap,
    /// Whether it carried a signature.
    pub signed: bool,
    /// Whether it changes something: neither a Describe, Get, List, Head... nor an AssumeRole.
    pub mutating: bool,
    /// HTTP status of the answer; 0 as long as there is none, or when the connection was dropped.
    pub status: u16,
    /// The answer's error code.
    pub error_code: Option<String>,
    /// When it came.
    pub begun: Instant,
    /// When it was answered or dropped; `None` as long as it is under way.
    pub ended: Option<Instant>,
}

const READS: [&str; 11] = [
    "Describe",
    "Get",
    "List",
    "Head",
    "Lookup",
    "Search",
    "AssumeRole",
    "Simulate",
    "Test",
    "Check",
    "Filter",
];

impl Call {
    /// Reads a request.
    pub fn of(number: usize, request: &Request) -> Self {
        let query = form(request.uri.query().unwrap_or_default());
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let path = percent_decode_str(request.uri.path()).decode_utf8_lossy().into_owned();
        let scope = scope(request, &query);
        let signed = scope.is_some();
        let (region, service) = scope.unwrap_or_default();

        let target = header(request, "x-amz-target");
        let mut params = query;
        if header(request, "content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
        {
            params.extend(form(&body));
        }
        let (service, protocol, action) = match (target, params.get("Action")) {
            (Some(target), _) => {
                let action = target.rsplit('.').next().unwrap_or_default().to_owned();
                (if service == "tagging" { "tag".to_owned() } else { service }, Protocol::Json, action)
            }
            (None, Some(action)) => {
                let protocol = if service == "ec2" { Protocol::Ec2 } else { Protocol::Query };
                let service = if service.is_empty() { "sts".to_owned() } else { service };
                (service, protocol, action.clone())
            }
            (None, None) if service == "route53" => {
                (service, Protocol::RestXml, route53_action(&request.method, &path, &params))
            }
            (None, None) if path.starts_with(S3_CONTROL) && (service == "s3" || service.is_empty()) => {
                ("s3".to_owned(), Protocol::RestXml, s3_control_action(&request.method, &path))
            }
            (None, None) if service == "s3" || service.is_empty() => {
                let copy = request.headers.contains_key("x-amz-copy-source");
                ("s3".to_owned(), Protocol::S3, s3_action(&request.method, &path, &params, copy))
            }
            (None, None) => (service, Protocol::RestXml, format!("{} {path}", request.method)),
        };
        let mutating = match action.split_once(' ') {
            Some((method, _)) => !matches!(method, "GET" | "HEAD" | "OPTIONS"),
            None => !READS.iter().any(|prefix| action.starts_with(prefix)),
        };
        let mut headers = request.headers.clone();
        headers.remove(AUTHORIZATION);
        Self {
            number,
            service,
            action,
            region,
            protocol,
            params,
            method: request.method.clone(),
            path,
            body,
            headers,
            signed,
            mutating,
            status: 0,
            error_code: None,
            begun: Instant::now(),
            ended: None,
        }
    }

    /// Whether it is this action of this service.
    pub fn is(&self, service: &str, action: &str) -> bool {
        self.service == service && self.action == action
    }

    /// `service:Action`, as IAM writes it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.action)
    }

    /// A parameter by its full name; empty where there is none.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The values of a list parameter, in order: `SubnetId.1`, or `Subnets.member.1`.
    pub fn list(&self, name: &str) -> Vec<&str> {
        (1..)
            .map_while(|index| {
                self.params
                    .get(&format!("{name}.{index}"))
                    .or_else(|| self.params.get(&format!("{name}.member.{index}")))
            })
            .map(String::as_str)
            .collect()
    }

    /// The body of a call to a JSON service.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// Bucket and key of an S3 call (path style, the only one the local AWS has).
    pub fn bucket_and_key(&self) -> (&str, &str) {
        let path = self.path.trim_start_matches('/');
        path.split_once('/').unwrap_or((path, ""))
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.get(name)?.to_str().ok()
}

/// Region and service of the signature, in the header or in a presigned URL.
fn scope(request: &Request, query: &BTreeMap<String, String>) -> Option<(String, String)> {
    let credential = match header(request, "authorization") {
        Some(value) => value.split("Credential=").nth(1)?.split([',', ' ']).next()?,
        None => query.get("X-Amz-Credential")?,
    };
    let mut parts = credential.split('/').rev();
    let (_terminator, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    Some((region.to_owned(), service.to_owned()))
}

fn form(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// S3 names its calls by method, path and sub-resource:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>.
fn s3_action(method: &Method, path: &str, query: &BTreeMap<String, String>, copy: bool) -> String {
    let path = path.trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let has = |name: &str| query.contains_key(name);
    let verb = match *method {
        Method::GET => "Get",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        Method::HEAD => "Head",
        Method::POST => "Post",
        _ => return format!("{method} /{path}"),
    };
    if bucket.is_empty() {
        return if *method == Method::GET { "ListBuckets".to_owned() } else { format!("{method} /") };
    }
    if key.is_empty() {
        const OF_BUCKETS: [(&str, &str); 15] = [
            ("acl", "BucketAcl"),
            ("accelerate", "BucketAccelerateConfiguration"),
            ("cors", "BucketCors"),
            ("encryption", "BucketEncryption"),
            ("lifecycle", "BucketLifecycleConfiguration"),
            ("location", "BucketLocation"),
            ("logging", "BucketLogging"),
            ("notification", "BucketNotificationConfiguration"),
            ("object-lock", "ObjectLockConfiguration"),
            ("ownershipControls", "BucketOwnershipControls"),
            ("policy", "BucketPolicy"),
            ("policyStatus", "BucketPolicyStatus"),
            ("publicAccessBlock", "PublicAccessBlock"),
            ("tagging", "BucketTagging"),
            ("versioning", "BucketVersioning"),
        ];
        if let Some((_, noun)) = OF_BUCKETS.iter().find(|(name, _)| has(name)) {
            return format!("{verb}{noun}");
        }
        return match verb {
            "Get" if has("versions") => "ListObjectVersions",
            "Get" if has("uploads") => "ListMultipartUploads",
            "Get" if query.get("list-type").is_some_and(|kind| kind == "2") => "ListObjectsV2",
            "Get" => "ListObjects",
            "Put" => "CreateBucket",
            "Head" => "HeadBucket",
            "Delete" => "DeleteBucket",
            _ if has("delete") => "DeleteObjects",
            _ => "PostObject",
        }
        .to_owned();
    }
    match verb {
        "Post" if has("uploads") => "CreateMultipartUpload".to_owned(),
        "Post" if has("uploadId") => "CompleteMultipartUpload".to_owned(),
        "Put" if has("uploadId") => "UploadPart".to_owned(),
        "Delete" if has("uploadId") => "AbortMultipartUpload".to_owned(),
        "Get" if has("uploadId") => "ListParts".to_owned(),
        "Get" if has("attributes") => "GetObjectAttributes".to_owned(),
        "Put" if copy => "CopyObject".to_owned(),
        _ if has("tagging") => format!("{verb}ObjectTagging"),
        _ if has("acl") => format!("{verb}ObjectAcl"),
        _ if has("retention") => format!("{verb}ObjectRetention"),
        _ if has("legal-hold") => format!("{verb}ObjectLegalHold"),
        _ => format!("{verb}Object"),
    }
}

/// How the paths of S3 calls about an account, not a bucket, begin. moto tells them by that too.
const S3_CONTROL: &str = "/v20180820/";

/// Those calls, by IAM's names, as a bucket has actions of the same ones:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_AWS_S3_Control.html>.
fn s3_control_action(method: &Method, path: &str) -> String {
    match (method.as_str(), path) {
        ("GET", "/v20180820/configuration/publicAccessBlock") => "GetAccountPublicAccessBlock".to_owned(),
        ("PUT", "/v20180820/configuration/publicAccessBlock") => "PutAccountPublicAccessBlock".to_owned(),
        ("DELETE", "/v20180820/configuration/publicAccessBlock") => {
            "DeleteAccountPublicAccessBlock".to_owned()
        }
        _ => format!("{method} {path}"),
    }
}

/// Route53 likewise: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_Operations.html>.
fn route53_action(method: &Method, path: &str, query: &BTreeMap<String, String>) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    let action = match (method.as_str(), parts.as_slice()) {
        ("GET", ["hostedzone"]) => "ListHostedZones",
        ("GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
        ("GET", ["hostedzonesbyvpc"]) => "ListHostedZonesByVPC",
        ("GET", ["hostedzonecount"]) => "GetHostedZoneCount",
        ("POST", ["hostedzone"]) => "CreateHostedZone",
        ("GET", ["hostedzone", _]) => "GetHostedZone",
        ("DELETE", ["hostedzone", _]) => "DeleteHostedZone",
        ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("POST", ["hostedzone", _, "associatevpc"]) => "AssociateVPCWithHostedZone",
        ("POST", ["hostedzone", _, "disassociatevpc"]) => "DisassociateVPCFromHostedZone",
        ("GET", ["change", _]) => "GetChange",
        ("GET", ["tags", _, _]) => "ListTagsForResource",
        ("POST", ["tags", _]) => "ListTagsForResources",
        ("POST", ["tags", _, _]) => "ChangeTagsForResource",
        _ => return format!("{method} {path}{}", if query.is_empty() { "" } else { "?" }),
    };
    action.to_owned()
}

#[cfg(test)]
impl Call {
    /// One that nobody made.
    pub(crate) fn named(action: &str, mutating: bool) -> Self {
        let request = Request {
            method: Method::POST,
            uri: hyper::Uri::from_static("/"),
            headers: HeaderMap::default(),
            body: hyper::body::Bytes::default(),
        };
        Self { action: action.to_owned(), mutating, ..Self::of(0, &request) }
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;

    fn request(
        method: &str,
        uri: &str,
        scope: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Request {
        let mut map = HeaderMap::new();
        if !scope.is_empty() {
            let value = format!(
                "AWS4-HMAC-SHA256 Credential=AKID/20261121/{scope}/aws4_request, SignedHeaders=host, Signature=0"
            );
            map.insert(AUTHORIZATION, value.parse().unwrap());
        }
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Request {
            method: method.parse().unwrap(),
            uri: uri.parse().unwrap(),
            headers: map,
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn calls_of_each_protocol() {
        let form: &[_] = &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let json = |target| [("x-amz-target", target), ("content-type", "application/x-amz-json-1.0")];
        let cases = [
            (
                request("POST", "/", "eu-north-1/ec2", form, "Action=CreateVpc&Version=1"),
                "ec2:CreateVpc",
                true,
            ),
            (request("POST", "/", "eu-north-1/ec2", form, "Action=DescribeVpcs"), "ec2:DescribeVpcs", false),
            (
                request("POST", "/", "eu-north-1/elasticloadbalancing", form, "Action=CreateListener"),
                "elasticloadbalancing:CreateListener",
                true,
            ),
            (
                request("POST", "/", "", form, "Action=AssumeRoleWithWebIdentity"),
                "sts:AssumeRoleWithWebIdentity",
                false,
            ),
            (
                request("POST", "/", "eu-north-1/sqs", &json("AmazonSQS.CreateQueue"), "{}"),
                "sqs:CreateQueue",
                true,
            ),
            (
                request(
                    "POST",
                    "/",
                    "eu-north-1/tagging",
                    &json("ResourceGroupsTaggingAPI_20170126.GetResources"),
                    "{}",
                ),
                "tag:GetResources",
                false,
            ),
            (request("PUT", "/bucket/a/key?x-id=PutObject", "eu-north-1/s3", &[], ""), "s3:PutObject", true),
            (request("PUT", "/bucket/", "eu-north-1/s3", &[], ""), "s3:CreateBucket", true),
            (request("GET", "/bucket?versioning", "eu-north-1/s3", &[], ""), "s3:GetBucketVersioning", false),
            (
                request("GET", "/bucket?list-type=2&prefix=a", "eu-north-1/s3", &[], ""),
                "s3:ListObjectsV2",
                false,
            ),
            (request("POST", "/bucket?delete", "eu-north-1/s3", &[], ""), "s3:DeleteObjects", true),
            (request("HEAD", "/bucket", "", &[], ""), "s3:HeadBucket", false),
            (
                request("PUT", "/v20180820/configuration/publicAccessBlock", "eu-north-1/s3", &[], ""),
                "s3:PutAccountPublicAccessBlock",
                true,
            ),
            (
                request("POST", "/2013-04-01/hostedzone/Z1/rrset", "us-east-1/route53", &[], ""),
                "route53:ChangeResourceRecordSets",
                true,
            ),
            (
                request("GET", "/2013-04-01/hostedzonesbyname?dnsname=a", "us-east-1/route53", &[], ""),
                "route53:ListHostedZonesByName",
                false,
            ),
        ];
        for (request, name, mutating) in cases {
            let call = Call::of(0, &request);
            assert_eq!((call.name().as_str(), call.mutating), (name, mutating), "{request:?}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let body = "Action=X&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b&SubnetId.1=s1&SubnetId.2=s2&Subnets.member.1=m";
        let form: &[_] = &[("content-type", "application/x-www-form-urlencoded")];
        let call = Call::of(0, &request("POST", "/", "eu-north-1/ec2", form, body));
        assert_eq!(call.param("Filter.1.Name"), "tag:Name");
        assert_eq!(call.param("Filter.1.Value.1"), "a b");
        assert_eq!(call.list("SubnetId"), ["s1", "s2"]);
        assert_eq!(call.list("Subnets"), ["m"]);
        assert_eq!(call.region, "eu-north-1");
    }
}
