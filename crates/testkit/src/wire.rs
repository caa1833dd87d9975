//! HTTP messages held whole, and AWS's ways to spell an error.
//!
//! Messages are small here (the largest is a launch template's user data), so that nothing is streamed.

use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, StatusCode, Uri};

/// A request as it came, or as it goes to moto.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// A response as it came from moto, or as a rule made it.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers (boxed: a refusal travels as the error of many results).
    pub headers: Box<HeaderMap>,
    /// Body.
    pub body: Bytes,
}

/// How a service spells its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// EC2's own form of the query protocol.
    Ec2,
    /// Form parameters in, XML out: IAM, STS, ELB, Auto Scaling.
    Query,
    /// JSON both ways, the action in `X-Amz-Target`: SQS, EventBridge, SSM, tagging.
    Json,
    /// S3.
    S3,
    /// XML over REST, as Route53.
    RestXml,
    /// Kubernetes' API: JSON over REST.
    Kubernetes,
}

impl Response {
    /// An XML answer with status 200.
    pub fn xml(body: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, "text/xml", body)
    }

    /// An answer of any kind.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers: Box::new(headers), body: Bytes::from(body.into()) }
    }

    /// An error as the service would spell it.
    pub fn error(protocol: Protocol, status: u16, code: &str, message: &str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let (code_xml, message_xml) = (escape(code), escape(message));
        let id = "00000000-0000-0000-0000-000000000000";
        let mut response = match protocol {
            Protocol::Ec2 => Self::new(
                status,
                "text/xml",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code_xml}</Code>\
                     <Message>{message_xml}</Message></Error></Errors><RequestID>{id}</RequestID></Response>"
                ),
            ),
            Protocol::Query | Protocol::RestXml => Self::new(
                status,
                "text/xml",
                format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code_xml}</Code><Message>{message_xml}\
                     </Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
                ),
            ),
            Protocol::S3 => Self::new(
                status,
                "application/xml",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code_xml}</Code><Message>\
                     {message_xml}</Message><RequestId>{id}</RequestId></Error>"
                ),
            ),
            Protocol::Json => Self::new(
                status,
                "application/x-amz-json-1.1",
                serde_json::json!({ "__type": code, "message": message }).to_string(),
            ),
            Protocol::Kubernetes => {
                let answer = serde_json::json!({ "kind": "Status", "apiVersion": "v1", "metadata": {},
                    "status": "Failure", "message": message, "reason": code, "code": status.as_u16() });
                return Self::new(status, "application/json", answer.to_string());
            }
        };
        response
            .headers
            .insert(HeaderName::from_static("x-amzn-requestid"), HeaderValue::from_static("kcl-local-aws"));
        response
    }

    /// The same answer with another body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        self.headers.remove(CONTENT_LENGTH);
        self.headers.remove(TRANSFER_ENCODING);
        self.body = Bytes::from(body.into());
        self
    }

    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The error code, where the answer is an error that carries one.
    pub fn error_code(&self) -> Option<String> {
        if self.status.is_success() || self.status.is_redirection() {
            return None;
        }
        let text = self.text();
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) {
            let name = json.get("__type").or_else(|| json.get("code"))?.as_str()?;
            return Some(name.rsplit('#').next().unwrap_or(name).to_owned());
        }
        let start = text.find("<Code>")? + "<Code>".len();
        let length = text[start..].find("</Code>")?;
        Some(text[start..start + length].to_owned())
    }

    /// Whether it is an HTML page, which AWS never answers with: moto's own crash or "not found".
    pub fn is_html(&self) -> bool {
        self.headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/html"))
    }
}

/// Text as it may stand in XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
