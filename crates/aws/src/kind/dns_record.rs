//! Route53 alias records.
//!
//! Records have no tags. A wanted one is known by its name. One that nobody wants any more is known by where
//! it points: to a load balancer of the cluster. It is looked for in the pages that are read anyway; and in
//! every zone of the account where the cluster goes, or where a load balancer of the cluster is unwanted.
//!
//! Control-plane machines keep names of the API that no load balancer has at their own addresses. While the cluster
//! lives those records are theirs, unless a load balancer is to have the name from now on; they go with what else
//! machines wrote ([`super::machine_records`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecordSet as Live, RrType,
};
use futures::TryStreamExt;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt};
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource};
use kcl_model::resource::{DnsRecord as Wanted, LoadBalancer};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::store::configurations::{self, KeptName};
use crate::{elb, lookup, named};

pub(crate) struct DnsRecord;

impl Kind for DnsRecord {
    type Resource = Wanted;
    const SERVICE: Service = Service::Route53;
    const IN_REGION: bool = false;

    /// Records have no tags: their names count. The zone's id is known beforehand only where the spec gives it.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        let records = ground.all::<Wanted>();
        let zones = records
            .iter()
            .map(|(_, want)| ground.global_arn("route53", &format!("hostedzone/{}", want.zone)));
        // Those that machines keep go by our hands, too.
        let kept = kcl_model::kept_by_machines(ground.cluster);
        // Where nothing else is known of their zone.
        let any =
            (records.is_empty() && !kept.is_empty()).then(|| ground.global_arn("route53", "hostedzone/*"));
        let zones = zones.chain(any);
        let names =
            normalised(records.iter().map(|(_, want)| want.name.as_str()).chain(kept.iter().copied()));
        let types = records.iter().map(|(_, want)| want.record_type.as_str());
        let types: BTreeSet<&str> = types.chain(kept.iter().map(|_| "A")).collect();
        let change = Permission::new("DnsRecords", &["route53:ChangeResourceRecordSets"], zones)
            // One call changes several records: each must be one of these.
            .when("ForAllValues:StringLike", "route53:ChangeResourceRecordSetsNormalizedRecordNames", names)
            .when("ForAllValues:StringEquals", "route53:ChangeResourceRecordSetsRecordTypes", types);
        let read = Permission::read(&["route53:ListHostedZones", "route53:ListResourceRecordSets"]);
        [read, vec![change]].concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let wanted: BTreeMap<&str, Wanted> = scope.wanted_resources().into_iter().collect();
        let mut names: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for record in wanted.values() {
            names.entry(record.zone.clone()).or_default().insert(&record.name);
        }
        let targets = targets(scope).await?;
        let kept = match scope.aws.state.as_deref() {
            Some(store) if !wanted.is_empty() => configurations::kept_names(store, scope.cluster).await?,
            _ => BTreeSet::new(),
        };
        let reads = if scope.is_exhaustive() || targets.iter().any(|target| !target.is_wanted) {
            let zones = lookup::hosted_zones(scope.aws).await?.into_iter().map(|zone| zone.id);
            let zones: BTreeSet<String> = zones.chain(names.into_keys()).collect();
            few_at_once(zones.into_iter().map(|zone| read_whole(scope.aws, zone))).await?
        } else {
            few_at_once(names.iter().map(|(zone, names)| read_names(scope.aws, zone, names))).await?
        };
        let mut nodes = Vec::new();
        for (zone, records) in reads {
            for record in records.iter().filter(|record| record.set_identifier().is_none()) {
                nodes.extend(node(&zone, record, &wanted, &targets, &kept)?);
            }
        }
        Ok(nodes)
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let made = Self::create_all(aws, vec![(name.to_owned(), want.clone())]).await?;
        Ok(made.into_iter().next().unwrap_or_default())
    }

    async fn update(
        aws: &Aws,
        name: &str,
        live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        if old.alias.is_none() && !live.contains_key(BY_MACHINES) {
            // Ours are all aliases: whatever this one says, somebody relies on it.
            let message = format!("{name} is there already and is no alias; remove it first if it may go");
            return Err(Error::new(ErrorKind::AlreadyExists, "route53:ChangeResourceRecordSets", message));
        }
        Self::create(aws, name, want).await
    }

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &Wanted) -> Result<(), Error> {
        Self::delete_all(aws, vec![(live.clone(), old.clone())]).await
    }

    /// Route53 takes five calls a second of an account, each with up to 1,000 changes of one zone.
    fn batch_key(resource: &Wanted) -> Option<String> {
        Some(resource.zone.clone())
    }

    async fn create_all(aws: &Aws, wanted: Vec<(String, Wanted)>) -> Result<Vec<Attrs>, Error> {
        let Some((_, first)) = wanted.first() else { return Ok(Vec::new()) };
        let records = wanted.iter().map(|(_, want)| record_set(want));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        change(aws, &first.zone, &ChangeAction::Upsert, records).await?;
        Ok(wanted.iter().map(|(_, want)| attrs(&want.name)).collect())
    }

    async fn delete_all(aws: &Aws, live: Vec<(Attrs, Wanted)>) -> Result<(), Error> {
        let Some((_, first)) = live.first() else { return Ok(()) };
        // Route53 deletes what is named exactly, with all its values: each is read anew.
        delete_read(aws, &first.zone, || async {
            let records = few_at_once(live.iter().map(|(_, old)| read_one(aws, old))).await?;
            Ok(records.into_iter().flatten().collect())
        })
        .await
    }
}

/// Route53 takes a few calls a second of an account, which may have hundreds of zones.
fn few_at_once<T, F>(reads: impl Iterator<Item = F>) -> impl Future<Output = Result<Vec<T>, Error>>
where
    F: Future<Output = Result<T, Error>>,
{
    let reads: Vec<F> = reads.collect();
    stream::iter(reads).buffer_unordered(Service::Route53.lane().limit).try_collect()
}

/// Deletes the records of a zone that `read` gives. What is gone already is deleted.
async fn delete_read<F>(aws: &Aws, zone: &str, read: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<Vec<Live>, Error>>,
{
    const TRIES: usize = 3;
    let mut tries = 0;
    loop {
        let records = read().await?;
        if records.is_empty() {
            return Ok(());
        }
        let is_one = records.len() == 1;
        tries += 1;
        match change(aws, zone, &ChangeAction::Delete, records).await {
            Err(error) if !(error.is_not_found() || error.message.contains("not found")) => {
                return Err(error);
            }
            // One of several has gone since, or changed, and so nothing was done.
            Err(error) if !is_one && tries == TRIES => return Err(error),
            Err(_) if !is_one => {}
            _ => return Ok(()),
        }
    }
}

/// The attribute of a record that the cluster's machines keep.
const BY_MACHINES: &str = "machines";

/// What a record of the cluster's may point to.
struct Target {
    dns_name: String,
    owner: Owner,
    is_wanted: bool,
}

async fn targets(scope: &Scope<'_>) -> Result<Vec<Target>, Error> {
    let wanted = scope.wanted_names(LoadBalancer::SCHEMA.kind);
    let balancers = elb::balancing(scope).await?.load_balancers.iter();
    let targets = balancers.filter_map(|balancer| {
        Some(Target {
            dns_name: elb::dns_name(balancer.item.dns_name()?),
            owner: balancer.owner,
            is_wanted: wanted.contains(&balancer.name.as_str()),
        })
    });
    Ok(targets.collect())
}

/// The record as a live node, where it is one of ours.
fn node(
    zone: &str,
    record: &Live,
    wanted: &BTreeMap<&str, Wanted>,
    targets: &[Target],
    kept: &BTreeSet<KeptName>,
) -> Result<Option<LiveNode>, Error> {
    let fields = fields(zone, record);
    let name = format!("{} {}", fields.name, fields.record_type);
    let is_wanted = wanted.get(name.as_str()).is_some_and(|want| want.zone == zone);
    let alias = record.alias_target().map(|alias| elb::dns_name(alias.dns_name()));
    let target = targets.iter().find(|target| alias.as_ref() == Some(&target.dns_name));
    let owner = match target {
        _ if is_wanted => Owner::Cluster,
        Some(target) => target.owner,
        None => return Ok(None),
    };
    let mut attrs = attrs(&fields.name);
    let by_machines = |kept: &KeptName| kept.zone == zone && plain_name(&kept.name) == fields.name;
    if is_by_machines(record) && kept.iter().any(by_machines) {
        attrs.insert(BY_MACHINES.to_owned(), "yes".to_owned());
    }
    Ok(Some(LiveNode::new(name, &fields, attrs, owner)?))
}

/// Whether a record is such as machines make them: addresses, and nothing else.
fn is_by_machines(record: &Live) -> bool {
    *record.r#type() == RrType::A && record.alias_target().is_none() && record.set_identifier().is_none()
}

/// Removes the records that machines keep under these names; those that are aliases now are somebody else's.
pub(super) async fn remove_kept(aws: &Aws, names: &BTreeSet<KeptName>) -> Result<(), Error> {
    let mut zones: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kept in names {
        zones.entry(&kept.zone).or_default().push(&kept.name);
    }
    let removed = zones.into_iter().map(async |(zone, names)| {
        let names = &names;
        delete_read(aws, zone, || async move {
            let reads = names.iter().map(|name| read_first(aws, zone, name, RrType::A));
            let records = few_at_once(reads).await?.into_iter().flatten();
            Ok(records.filter(is_by_machines).collect())
        })
        .await
    });
    try_join_all(removed).await.map(drop)
}

/// More names than these are told by what they end in, where several end alike: a policy does not grow with every
/// host, and one call, which must fit one statement, may be about all of them.
const MOST_NAMES: usize = 16;

/// Names as Route53 compares them in a policy: lower case, no dot at the end, anything unusual by its octal code.
fn normalised<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let names: BTreeSet<String> = names
        .map(|name| {
            let spell = |c: char| if is_plain(c) { c.to_string() } else { format!("\\{:03o}", u32::from(c)) };
            plain_name(name).chars().map(spell).collect()
        })
        .collect();
    if names.len() <= MOST_NAMES {
        return names;
    }
    let parent = |name: &str| name.split_once('.').map(|(_, parent)| parent.to_owned()).unwrap_or_default();
    let parents: Vec<String> = names.iter().map(|name| parent(name)).collect();
    let is_shared = |parent: &String| parents.iter().filter(|other| *other == parent).count() > 1;
    names
        .iter()
        .zip(&parents)
        .map(|(name, parent)| if is_shared(parent) { format!("*.{parent}") } else { name.clone() })
        .collect()
}

fn attrs(name: &str) -> Attrs {
    named::attrs([("name", Some(name))])
}

fn fields(zone: &str, record: &Live) -> Wanted {
    let alias = record.alias_target();
    let reference = |attr: &str, value: String| Ref::id(LoadBalancer::SCHEMA.kind, attr, value);
    Wanted {
        zone: zone.to_owned(),
        name: plain_name(record.name()),
        record_type: record.r#type().as_str().to_owned(),
        alias: alias.map(|alias| reference("dns_name", elb::dns_name(alias.dns_name()))),
        alias_zone: alias.map(|alias| reference("zone_id", alias.hosted_zone_id().to_owned())),
        evaluate_target_health: alias.is_some_and(AliasTarget::evaluate_target_health),
    }
}

/// A record's name as we keep it: Route53 ends it with a dot and spells a star by its octal code.
fn plain_name(name: &str) -> String {
    name.trim_end_matches('.').replace("\\052", "*").to_ascii_lowercase()
}

/// Route53's order of names: label by label from the right.
fn order(name: &str) -> Vec<&str> {
    name.rsplit('.').collect()
}

/// Whether a page that starts at `start` and goes on at `next` tells of `name`: it is not there, or it was
/// among the page's records. Where Route53 puts a star in its order is not known, so nothing is concluded for
/// such names.
fn is_covered(name: &str, start: &str, next: Option<&str>) -> bool {
    if name.contains('*') || start.contains('*') {
        return name == start;
    }
    let key = order(name);
    order(start) <= key && next.is_none_or(|next| !next.contains('*') && key < order(next))
}

/// Reads the records of these names, and those around them: a page has 300 records, so most zones take one
/// call, and none takes more than there are names.
async fn read_names(aws: &Aws, zone: &str, names: &BTreeSet<&str>) -> Result<(String, Vec<Live>), Error> {
    let mut sorted: Vec<&str> = names.iter().copied().collect();
    sorted.sort_by_key(|name| order(name));
    let mut found: Vec<Live> = Vec::new();
    let mut pages: Vec<(&str, Option<String>)> = Vec::new();
    for name in sorted {
        if pages.iter().any(|(start, next)| is_covered(name, start, next.as_deref())) {
            continue;
        }
        let call = aws.route53.list_resource_record_sets().hosted_zone_id(zone).start_record_name(name);
        let page = call.send().await.during("route53:ListResourceRecordSets")?;
        let known = |record: &Live| {
            found.iter().any(|other| (other.name(), other.r#type()) == (record.name(), record.r#type()))
        };
        let new: Vec<Live> = page.resource_record_sets.into_iter().filter(|record| !known(record)).collect();
        found.extend(new);
        pages.push((name, page.next_record_name.as_deref().map(plain_name)));
    }
    Ok((zone.to_owned(), found))
}

/// Reads all records of a zone.
async fn read_whole(aws: &Aws, zone: String) -> Result<(String, Vec<Live>), Error> {
    let mut found = Vec::new();
    let mut next = None;
    loop {
        let mut call = aws.route53.list_resource_record_sets().hosted_zone_id(&zone);
        if let Some((name, kind, identifier)) = next.take() {
            call = call.set_start_record_name(name).set_start_record_type(kind);
            call = call.set_start_record_identifier(identifier);
        }
        let page = match call.send().await.during("route53:ListResourceRecordSets") {
            // The zone went away since it was listed.
            Err(error) if error.is_not_found() => return Ok((zone, found)),
            page => page?,
        };
        found.extend(page.resource_record_sets);
        if !page.is_truncated {
            return Ok((zone, found));
        }
        next = Some((page.next_record_name, page.next_record_type, page.next_record_identifier));
    }
}

/// The record as it is now, if it still points where it did.
async fn read_one(aws: &Aws, old: &Wanted) -> Result<Option<Live>, Error> {
    let record = read_first(aws, &old.zone, &old.name, RrType::from(old.record_type.as_str())).await?;
    Ok(record.filter(|record| {
        let now = fields(&old.zone, record);
        let target = |alias: &Option<Ref>| alias.as_ref().and_then(|it| it.value().ok().map(str::to_owned));
        target(&now.alias) == target(&old.alias)
    }))
}

/// The first record of this name and type.
async fn read_first(aws: &Aws, zone: &str, name: &str, of_type: RrType) -> Result<Option<Live>, Error> {
    let call = aws.route53.list_resource_record_sets().hosted_zone_id(zone);
    let call = call.start_record_name(name).start_record_type(of_type.clone()).max_items(1);
    let answer = match call.send().await.during("route53:ListResourceRecordSets") {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?,
    };
    let record = answer.resource_record_sets.into_iter().next();
    Ok(record.filter(|record| plain_name(record.name()) == plain_name(name) && *record.r#type() == of_type))
}

fn record_set(want: &Wanted) -> Result<Live, Error> {
    let (Some(alias), Some(zone)) = (&want.alias, &want.alias_zone) else {
        let message = format!("the record {} has nothing to point to", want.name);
        return Err(Error::new(ErrorKind::Unexpected, "route53:ChangeResourceRecordSets", message));
    };
    let target = AliasTarget::builder()
        .dns_name(alias.value()?)
        .hosted_zone_id(zone.value()?)
        .evaluate_target_health(want.evaluate_target_health)
        .build()?;
    let record = Live::builder().name(&want.name).r#type(RrType::from(want.record_type.as_str()));
    Ok(record.alias_target(target).build()?)
}

/// All of the changes are made, or none.
async fn change(aws: &Aws, zone: &str, action: &ChangeAction, records: Vec<Live>) -> Result<(), Error> {
    let changes = records
        .into_iter()
        .map(|record| Change::builder().action(action.clone()).resource_record_set(record).build());
    let changes = changes.collect::<Result<Vec<_>, _>>()?;
    let batch = ChangeBatch::builder().set_changes(Some(changes)).build()?;
    let call = aws.route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch);
    call.send().await.during("route53:ChangeResourceRecordSets")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(plain_name("\\052.Example.com."), "*.example.com");
        assert_eq!(plain_name("docs.karlaru.com."), "docs.karlaru.com");
    }

    #[test]
    fn the_order_of_names() {
        let mut names = ["www.example.com", "example.com", "a.zone.example.com", "zone.example.com", "b.com"];
        names.sort_by_key(|name| order(name));
        let sorted = ["b.com", "example.com", "www.example.com", "zone.example.com", "a.zone.example.com"];
        assert_eq!(names, sorted);
    }

    #[test]
    fn what_a_page_tells() {
        let page = ("example.com", Some("m.example.com"));
        for (name, covered) in [
            ("example.com", true),
            ("docs.example.com", true),
            ("x.docs.example.com", true),
            ("m.example.com", false),
            ("z.example.com", false),
            ("*.example.com", false),
        ] {
            assert_eq!(is_covered(name, page.0, page.1), covered, "{name}");
        }
        assert!(is_covered("z.example.com", "example.com", None));
        assert!(!is_covered("example.com", "docs.example.com", None));
    }
}

#[cfg(test)]
mod life {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kcl_engine::{Action, Attrs, Ref, Wanted};
    use kcl_model::resource::DnsRecord;
    use kcl_testkit::{Decision, Reply, Response};

    use crate::Depth;
    use crate::kind::Kind;
    use crate::store::configurations::{self, Turns};
    use crate::testing::{self, CLUSTER, World};

    fn wanted(zone: &str, names: &[&str]) -> Wanted {
        let mut wanted = testing::network("a");
        testing::add_balancing(&mut wanted);
        for name in names {
            let reference = |attr| Some(Ref::to("load-balancer", format!("api.{CLUSTER}"), attr));
            let record = DnsRecord {
                zone: zone.to_owned(),
                name: (*name).to_owned(),
                record_type: "A".to_owned(),
                alias: reference("dns_name"),
                alias_zone: reference("zone_id"),
                evaluate_target_health: false,
            };
            testing::add(&mut wanted, &format!("{name} A"), &record);
        }
        wanted
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let zone = world.zone("example.org.").await;
        let first = wanted(&zone, &["example.org", "docs.example.org", "*.apps.example.org"]);
        let second = wanted(&zone, &["example.org", "www.example.org", "*.apps.example.org"]);
        world.reach(&first).await;
        let done = world.reach(&second).await;
        let expected = [
            (Action::Delete, "dns-record/docs.example.org A".to_owned()),
            (Action::Create, "dns-record/www.example.org A".to_owned()),
        ];
        assert_eq!(done, expected);
        world.remove().await;
        assert_eq!(world.local.unsupported(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn records_of_one_zone_are_made_in_one_call_and_read_in_one() {
        let world = World::start().await;
        let zone = world.zone("example.org.").await;
        let wanted = wanted(&zone, &["example.org", "docs.example.org", "a.b.example.org"]);
        let plan = world.plan(&wanted).await;
        world.apply(&plan).await;
        assert_eq!(world.local.count("route53", "ChangeResourceRecordSets"), 1, "{:?}", world.local.counts());
        world.local.take_calls();
        world.live(&wanted, Depth::Preview).await;
        assert_eq!(world.local.count("route53", "ListResourceRecordSets"), 1, "{:?}", world.local.counts());
    }

    #[tokio::test]
    async fn a_load_balancer_takes_over_what_machines_kept_and_nothing_else() {
        let (world, store, _folder) = World::with_folder().await;
        let zone = world.zone("example.org.").await;
        testing::tell_to_keep(&*store, &zone, "api.internal.example.org").await;
        // Nobody is told so any more; a machine says it once more.
        configurations::change(&*store, CLUSTER, &Turns::default(), Vec::clear).await.expect("it is changed");
        world.record(&zone, "api.internal.example.org").await;
        world.record(&zone, "docs.example.org").await;
        world.reach(&wanted(&zone, &[])).await;
        assert_eq!(world.records(&zone).await, ["A api.internal.example.org.", "A docs.example.org."]);

        let plan = world.plan(&wanted(&zone, &["docs.example.org"])).await;
        let refused = world.try_apply(&plan).await.expect_err("it is somebody else's");
        assert!(refused.contains("docs.example.org A is there already"), "{refused}");
        let done = world.reach(&wanted(&zone, &["api.internal.example.org"])).await;
        assert_eq!(done, [(Action::Update, "dns-record/api.internal.example.org A".to_owned())]);
        world.remove().await;
        assert_eq!(world.records(&zone).await, ["A docs.example.org."]);
    }

    #[tokio::test]
    async fn one_record_that_is_gone_does_not_keep_the_others() {
        let world = World::start().await;
        let zone = world.zone("example.org.").await;
        world.reach(&wanted(&zone, &["docs.example.org", "www.example.org"])).await;
        let refused = std::sync::atomic::AtomicBool::new(false);
        world.local.before(move |call| {
            let deletes = call.action == "ChangeResourceRecordSets" && call.body.contains("DELETE");
            if !deletes || refused.swap(true, std::sync::atomic::Ordering::SeqCst) {
                return Decision::Forward;
            }
            let message = "Tried to delete resource record set [name='docs.example.org.', type='A'] but it was not found";
            Decision::Respond(Response::error(call.protocol, 400, "InvalidChangeBatch", message))
        });
        let live = world.live(&Wanted::default(), Depth::Everything).await.into_iter();
        let records = live.filter(|node| node.id.kind.as_str() == "dns-record");
        let records = records.map(|node| {
            let old: DnsRecord = serde_json::from_value(node.fields).expect("it is a record");
            (Attrs::new(), old)
        });
        let records: Vec<_> = records.collect();
        assert_eq!(records.len(), 2);
        let deleted = <super::DnsRecord as Kind>::delete_all(&world.aws, records).await;
        deleted.expect("what is there is deleted");
        assert_eq!(world.records(&zone).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn zones_are_read_a_few_at_once() {
        let world = World::start().await;
        for number in 0..12 {
            world.zone(&format!("z{number}.example.org.")).await;
        }
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (begun, seen, ended) = (under_way.clone(), most.clone(), under_way);
        world.local.before(move |call| {
            if call.action == "ListResourceRecordSets" {
                seen.fetch_max(begun.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
            Decision::Forward
        });
        world.local.after(move |call, response| {
            if call.action == "ListResourceRecordSets" {
                ended.fetch_sub(1, Ordering::SeqCst);
            }
            Reply::Send(response)
        });
        world.live(&Wanted::default(), Depth::Everything).await;
        assert_eq!(world.local.count("route53", "ListResourceRecordSets"), 12);
        assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
    }
}
