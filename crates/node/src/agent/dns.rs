//! The API's names in Route53, where no load balancer has them: which addresses they lead to, and how that is said.
//!
//! Every control-plane machine publishes the same: the addresses of all that are alive. None of them decides alone
//! who is not, but by the records that all keep in the store: one that was not refreshed for some minutes is of a
//! machine that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kcl_http::{AwsError, AwsService};
use kcl_node_config::{Dns, DnsAddress, MemberRecord};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Seconds that an answer may be kept. A machine that takes another's place is reached after that time, and kOps has
/// the same.
const TTL: u32 = 60;

/// A record that is older is of a machine that is gone: several times as long as it takes to refresh one.
pub const ALIVE: Duration = Duration::minutes(5);

/// Names with their addresses.
pub type Names = BTreeMap<String, BTreeSet<IpAddr>>;

/// What the names should lead to. `others` are the records of the other members; `own` is absent when this machine
/// is about to go.
pub fn names(dns: &Dns, own: Option<&MemberRecord>, others: &[MemberRecord], now: OffsetDateTime) -> Names {
    let alive = others.iter().filter(|record| serves(record, now)).chain(own);
    let alive: Vec<&MemberRecord> = alive.collect();
    let entries = dns.names.iter();
    let named = entries.map(|entry| {
        let addresses = alive.iter().map(|record| address(record, entry.address)).collect();
        (entry.name.clone(), addresses)
    });
    // A name without any address would be taken away from those who still hope for it.
    named.filter(|(_, addresses): &(String, BTreeSet<IpAddr>)| !addresses.is_empty()).collect()
}

/// Whether a member's machine is alive, and not still waiting for others before it begins.
pub(super) fn serves(record: &MemberRecord, now: OffsetDateTime) -> bool {
    let at = OffsetDateTime::parse(&record.at, &Rfc3339);
    record.waits_with.is_none() && at.is_ok_and(|at| now - at < ALIVE)
}

fn address(record: &MemberRecord, wanted: DnsAddress) -> IpAddr {
    match wanted {
        DnsAddress::Private => record.address,
        DnsAddress::Public => record.public_address.unwrap_or(record.address),
    }
}

/// The change that makes the names so, as Route53 reads it.
pub fn change(names: &Names) -> String {
    let mut changes = String::new();
    for (name, addresses) in names {
        for (kind, fits) in [("A", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("AAAA", IpAddr::is_ipv6)] {
            let values: Vec<String> = addresses
                .iter()
                .filter(|address| fits(address))
                .map(|address| format!("<ResourceRecord><Value>{address}</Value></ResourceRecord>"))
                .collect();
            let values = values.concat();
            if !values.is_empty() {
                // Names are checked to be no more than names when the node configuration is read.
                changes += &format!(
                    "<Change><Action>UPSERT</Action><ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type>\
                     <TTL>{TTL}</TTL><ResourceRecords>{values}</ResourceRecords></ResourceRecordSet></Change>"
                );
            }
        }
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch>\
         <Comment>kcl-node</Comment><Changes>{changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    )
}

/// Has Route53 make the names so.
pub async fn publish(route53: &AwsService, zone: &str, names: &Names) -> Result<(), AwsError> {
    if names.is_empty() {
        return Ok(());
    }
    let target = format!("/2013-04-01/hostedzone/{zone}/rrset");
    let headers = [("content-type", "application/xml")];
    route53.send("a change of the API's names", "POST", &target, &headers, change(names)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use kcl_node_config::{DnsName, LastEntry};
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);

    fn record(member: &str, address: &str, public: Option<&str>, at: &str) -> MemberRecord {
        MemberRecord {
            member: member.to_owned(),
            instance: format!("i-{member}"),
            address: address.parse().unwrap(),
            public_address: public.map(|address| address.parse().unwrap()),
            at: at.to_owned(),
            waits_with: None,
        }
    }

    fn dns() -> Dns {
        let name = |name: &str, address| DnsName { name: name.to_owned(), address };
        Dns {
            zone: "Z123".to_owned(),
            names: vec![
                name("api.example.com", DnsAddress::Public),
                name("api.internal.example.com", DnsAddress::Private),
            ],
        }
    }

    fn shown(names: &Names) -> Vec<String> {
        let line = |(name, addresses): (&String, &BTreeSet<IpAddr>)| {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{name} {}", addresses.join(" "))
        };
        names.iter().map(line).collect()
    }

    #[test]
    fn the_names_lead_to_all_that_are_alive() {
        let own = record("a", "10.0.0.1", Some("198.51.100.1"), "");
        let alive = record("b", "10.0.0.2", None, "2026-03-01T11:55:30Z");
        let gone = record("c", "10.0.0.3", None, "2026-03-01T11:54:59Z");
        let broken = record("d", "10.0.0.4", None, "yesterday");
        let mut waiting = record("e", "10.0.0.5", None, "2026-03-01T11:59:59Z");
        waiting.waits_with = Some(LastEntry::default());
        let others = [alive, gone, broken, waiting];
        let wanted = ["api.example.com 10.0.0.2 198.51.100.1", "api.internal.example.com 10.0.0.1 10.0.0.2"];
        assert_eq!(shown(&names(&dns(), Some(&own), &others, NOW)), wanted);
        let wanted = ["api.example.com 10.0.0.2", "api.internal.example.com 10.0.0.2"];
        assert_eq!(shown(&names(&dns(), None, &others, NOW)), wanted, "one that goes");
        assert!(names(&dns(), None, &others[1..], NOW).is_empty(), "the last one's address stays");
    }

    #[test]
    fn a_change_says_all_addresses_of_a_name_at_once() {
        let own = record("a", "10.0.0.1", Some("2001:db8::1"), "");
        let other = record("b", "10.0.0.2", None, "2026-03-01T11:59:00Z");
        insta::assert_snapshot!(change(&names(&dns(), Some(&own), &[other], NOW)).replace("><", ">\n<"));
    }
}
