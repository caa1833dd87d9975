//! The way from the front to moto: forwards requests, and asks questions of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use hyper::{Method, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::wire::{Protocol, Request, Response};
use crate::xml::Element;

const ACCOUNT: HeaderName = HeaderName::from_static("x-moto-account-id");

/// The version of the Elastic Load Balancing API that knows classic load balancers.
pub(crate) const CLASSIC_ELB: &str = "2012-06-01";

/// moto, seen as one account.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    account: HeaderValue,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr, account: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let account =
            HeaderValue::from_str(account).unwrap_or_else(|_| HeaderValue::from_static("123456789012"));
        Self { client, address, account }
    }

    /// The same moto, seen as another account.
    fn as_account(&self, account: &str) -> Self {
        let account = HeaderValue::from_str(account).unwrap_or_else(|_| self.account.clone());
        Self { client: self.client.clone(), address: self.address, account }
    }

    /// Forwards a request as it is, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request) -> Response {
        let protocol = Protocol::Query;
        match self.try_send(request).await {
            Ok(response) => response,
            Err(error) => {
                Response::error(protocol, 502, "KclLocalAwsGone", &format!("moto did not answer: {error}"))
            }
        }
    }

    async fn try_send(&self, request: Request) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{path}", self.address).parse()?;
        let is_head = request.method == Method::HEAD;
        let mut outgoing = hyper::Request::new(Full::new(request.body));
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = request.headers;
        let headers = outgoing.headers_mut();
        for hop in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
            headers.remove(hop);
        }
        headers.insert(ACCOUNT, self.account.clone());
        let (parts, body) = self.client.request(outgoing).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut headers = parts.headers;
        headers.remove(CONNECTION);
        headers.remove(TRANSFER_ENCODING);
        // The answer to a HEAD says the length of a body that it has not.
        if !is_head {
            headers.remove(CONTENT_LENGTH);
        }
        Ok(Response { status: parts.status, headers: Box::new(headers), body })
    }
}

/// How a rule asks moto something: signed for the region of the call that it judges, in the same account,
/// past all rules, unrecorded.
#[derive(Debug, Clone)]
pub struct Ask {
    upstream: Arc<Upstream>,
    region: String,
}

impl Ask {
    pub(crate) fn new(upstream: Arc<Upstream>, region: &str) -> Self {
        let region = if region.is_empty() { "us-east-1" } else { region };
        Self { upstream, region: region.to_owned() }
    }

    /// The region in which it asks.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The account in which it asks.
    pub fn account(&self) -> &str {
        self.upstream.account.to_str().unwrap_or_default()
    }

    /// Where moto listens: tells one AWS from another.
    pub(crate) fn server(&self) -> SocketAddr {
        self.upstream.address
    }

    /// Asks in another account.
    pub(crate) fn as_account(&self, account: &str) -> Self {
        Self { upstream: Arc::new(self.upstream.as_account(account)), region: self.region.clone() }
    }

    /// Calls an EC2 action. An answer that is an error comes back as such.
    pub async fn ec2(&self, action: &str, params: &[(&str, &str)]) -> Result<Element, Response> {
        self.query("ec2", "2016-11-15", action, params).await
    }

    /// Calls an Elastic Load Balancing (v2) action.
    pub async fn elb(&self, action: &str, params: &[(&str, &str)]) -> Result<Element, Response> {
        self.query("elasticloadbalancing", "2015-12-01", action, params).await
    }

    /// Calls an action of classic load balancers: the same service in the older version of its API.
    pub async fn classic_elb(&self, action: &str, params: &[(&str, &str)]) -> Result<Element, Response> {
        self.query("elasticloadbalancing", CLASSIC_ELB, action, params).await
    }

    /// Calls an Auto Scaling action.
    pub async fn autoscaling(&self, action: &str, params: &[(&str, &str)]) -> Result<Element, Response> {
        self.query("autoscaling", "2011-01-01", action, params).await
    }

    /// Calls an IAM action.
    pub async fn iam(&self, action: &str, params: &[(&str, &str)]) -> Result<Element, Response> {
        self.query("iam", "2010-05-08", action, params).await
    }

    /// Calls an action of a service that takes form parameters.
    pub async fn query(
        &self,
        service: &str,
        version: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<Element, Response> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let body = [("Action", action), ("Version", version)]
            .iter()
            .chain(params)
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let mut headers = self.headers(service);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let response = self.send(Method::POST, "/", headers, body.into()).await?;
        Ok(Element::parse(&response.text()))
    }

    /// Calls a REST action (S3, Route53).
    pub async fn rest(
        &self,
        service: &str,
        method: Method,
        path_and_query: &str,
        body: &str,
    ) -> Result<Response, Response> {
        let mut headers = self.headers(service);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        self.send(method, path_and_query, headers, Bytes::from(body.to_owned())).await
    }

    /// The public access block of the whole account: get, put, or delete it (S3 Control).
    pub(crate) async fn account_public_access_block(
        &self,
        method: Method,
        body: &str,
    ) -> Result<Response, Response> {
        let mut headers = self.headers("s3");
        headers.insert(HeaderName::from_static("x-amz-account-id"), self.upstream.account.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let path = "/v20180820/configuration/publicAccessBlock";
        self.send(method, path, headers, Bytes::from(body.to_owned())).await
    }

    fn headers(&self, service: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&fake_signature(&self.region, service)) {
            headers.insert(AUTHORIZATION, value);
        }
        if let Ok(value) = HeaderValue::from_str(&self.upstream.address.to_string()) {
            headers.insert(HOST, value);
        }
        headers
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Response> {
        let uri = path.parse().map_err(|_| {
            Response::error(
                Protocol::Query,
                400,
                "KclLocalAwsRule",
                &format!("a rule asked for a bad path: {path}"),
            )
        })?;
        let response = self.upstream.send(Request { method, uri, headers, body }).await;
        if response.status.is_success() {
            return Ok(response);
        }
        Err(response)
    }
}

/// What moto reads the service from; it never checks the rest.
pub(crate) fn fake_signature(region: &str, service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=local/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}
