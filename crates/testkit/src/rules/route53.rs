//! Route53: a record that is not there cannot be deleted.
//!
//! <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html>: a DELETE
//! must name what exists. moto judges by a journal of all changes that there ever were: what was once there
//! can be deleted again and again, and what it never saw is `InvalidInput`. (CREATE likewise: use UPSERT.)

use futures::future::{BoxFuture, FutureExt as _};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Decision, Rule, Verdict, decided, refusal};
use crate::call::Call;
use crate::upstream::Ask;
use crate::xml::Element;

pub(super) struct Records;

impl Rule for Records {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            if !call.is("route53", "ChangeResourceRecordSets") {
                return Decision::Forward;
            }
            decided(all_there(call, ask).await)
        }
        .boxed()
    }
}

async fn all_there(call: &Call, ask: &Ask) -> Verdict {
    let batch = Element::parse(&call.body);
    for change in batch.all("ChangeBatch/Changes/Change") {
        if change.value("Action") != "DELETE" {
            continue;
        }
        let name = change.value("ResourceRecordSet/Name");
        let kind = change.value("ResourceRecordSet/Type");
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let path = format!("{}?name={encoded}&type={kind}&maxitems=1", call.path.trim_end_matches('/'));
        let answer = ask.rest("route53", Method::GET, &path, "").await?;
        let found = Element::parse(&answer.text());
        let there = found.all("ResourceRecordSets/ResourceRecordSet").iter().any(|record| {
            record.value("Name").trim_end_matches('.') == name.trim_end_matches('.')
                && record.value("Type") == kind
        });
        if !there {
            let message = format!(
                "[Tried to delete resource record set [name='{name}', type='{kind}'] but it was not found]"
            );
            return Err(refusal(call, "InvalidChangeBatch", &message));
        }
    }
    Ok(())
}
