//! Security group rules.
//!
//! Rules of one group and direction are made and removed in one call.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    self, IpPermission, IpRange, Ipv6Range, PrefixListId, ReferencedSecurityGroup, UserIdGroupPair,
};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Ref};
use kcl_model::resource::{self, Direction, Peer, Protocol};

use super::security_group::recognise;
use super::{Kind, Service};
use crate::client::Aws;
use crate::ec2::{self, FILTER_VALUES};
use crate::error::{During, Error, ErrorKind};
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::wait::{self, PROPAGATION};

/// Rules of the cluster's security groups.
pub(crate) struct SecurityGroupRule;

impl Kind for SecurityGroupRule {
    type Resource = resource::SecurityGroupRule;
    const SERVICE: Service = Service::Ec2;
    const TAGGED_AS: &'static [&'static str] = &["ec2:security-group"];

    /// kcl gives a rule no tags: its group's count. The rules of controllers' groups are removed with the cluster.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const AUTHORIZE: [&str; 2] =
            ["ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress"];
        [
            Permission::read(&["ec2:DescribeSecurityGroupRules"]),
            ground.if_wanted::<resource::SecurityGroupRule>(ground.ec2_change(&AUTHORIZE)),
            ground.ec2_delete_of_controllers(&[
                "ec2:RevokeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupIngress",
            ]),
        ]
        .concat()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let groups = Groups::read(scope).await?;
        // The rules of controllers' groups are theirs; they only matter where one has to go before what it
        // refers to can.
        let everything = scope.depth == Depth::Everything;
        let ids = groups.0.iter().filter(|(_, group)| everything || group.owner == Owner::Cluster);
        let ids: Vec<String> = ids.map(|(id, _)| id.clone()).collect();
        let read = ids.chunks(FILTER_VALUES).map(|ids| describe(scope.aws, ids));
        let rules = try_join_all(read).await?;
        let live = rules.iter().flatten().filter_map(|rule| groups.live(rule));
        live.collect()
    }

    async fn create(aws: &Aws, _name: &str, want: &resource::SecurityGroupRule) -> Result<Attrs, Error> {
        let made = authorize(aws, std::slice::from_ref(want)).await?;
        made.into_iter().next().ok_or_else(|| Error::unexpected(action(want.direction), "rule"))
    }

    /// A rule's name says all of it: there is nothing to change.
    async fn update(
        _aws: &Aws,
        _name: &str,
        live: &Attrs,
        _old: &resource::SecurityGroupRule,
        _want: &resource::SecurityGroupRule,
    ) -> Result<Attrs, Error> {
        Ok(live.clone())
    }

    async fn delete(
        aws: &Aws,
        _name: &str,
        live: &Attrs,
        old: &resource::SecurityGroupRule,
    ) -> Result<(), Error> {
        let ids = vec![ec2::id_of(live)?.to_owned()];
        match revoke(aws, old.group.value()?, old.direction, ids).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn batch_key(rule: &resource::SecurityGroupRule) -> Option<String> {
        Some(format!("{:?} {:?}", rule.direction, rule.group))
    }

    async fn create_all(
        aws: &Aws,
        wanted: Vec<(String, resource::SecurityGroupRule)>,
    ) -> Result<Vec<Attrs>, Error> {
        let wanted: Vec<resource::SecurityGroupRule> = wanted.into_iter().map(|(_, rule)| rule).collect();
        authorize(aws, &wanted).await
    }

    async fn delete_all(aws: &Aws, live: Vec<(Attrs, resource::SecurityGroupRule)>) -> Result<(), Error> {
        let Some((_, first)) = live.first() else { return Ok(()) };
        let ids: Result<Vec<String>, Error> =
            live.iter().map(|(attrs, _)| ec2::id_of(attrs).map(str::to_owned)).collect();
        revoke(aws, first.group.value()?, first.direction, ids?).await
    }
}

/// A group of the cluster.
struct Group {
    name: String,
    owner: Owner,
}

/// The cluster's groups, by id.
struct Groups(BTreeMap<String, Group>);

impl Groups {
    async fn read(scope: &Scope<'_>) -> Result<Self, Error> {
        let groups = ec2::security_groups(scope).await?.iter().filter_map(|group| {
            let ours = recognise(scope, group)?;
            let name = group.group_name().unwrap_or(&ours.id).to_owned();
            Some((ours.id, Group { name, owner: ours.owner }))
        });
        Ok(Self(groups.collect()))
    }

    fn live(&self, rule: &types::SecurityGroupRule) -> Option<Result<LiveNode, Error>> {
        let group = self.0.get(rule.group_id()?)?;
        let fields = read(rule)?;
        let peer = match &fields.peer {
            Peer::Cidr(peer) | Peer::PrefixList(peer) => peer.clone(),
            Peer::Group(_) => {
                let id = rule.referenced_group_info().and_then(ReferencedSecurityGroup::group_id)?;
                self.0.get(id).map_or(id, |group| &group.name).to_owned()
            }
        };
        let name = resource::SecurityGroupRule::name(&group.name, fields.direction, &fields.protocol, &peer);
        let attrs = ec2::attrs(rule.security_group_rule_id()?);
        let owner = if self.is_of_controller(rule) { Owner::Controller } else { group.owner };
        Some(LiveNode::new(name, &fields, attrs, owner).map_err(Error::from))
    }

    /// Controllers open machines' groups for their load balancers: they say so in the description, or let in
    /// a group of their own.
    fn is_of_controller(&self, rule: &types::SecurityGroupRule) -> bool {
        const MARKS: [&str; 2] = ["kubernetes.io/rule/", "elbv2.k8s.aws/"];
        let description = rule.description().unwrap_or_default();
        let peer = rule.referenced_group_info().and_then(ReferencedSecurityGroup::group_id);
        let peer = peer.and_then(|id| self.0.get(id));
        MARKS.iter().any(|mark| description.starts_with(mark))
            || peer.is_some_and(|group| group.owner == Owner::Controller)
    }
}

/// The rules of these groups.
async fn describe(aws: &Aws, groups: &[String]) -> Result<Vec<types::SecurityGroupRule>, Error> {
    let call = aws.ec2.describe_security_group_rules().filters(ec2::filter_any("group-id", groups));
    call.into_paginator().items().send().try_collect().await.during("ec2:DescribeSecurityGroupRules")
}

fn read(rule: &types::SecurityGroupRule) -> Option<resource::SecurityGroupRule> {
    let peer = rule.referenced_group_info().and_then(ReferencedSecurityGroup::group_id);
    let peer = if let Some(id) = peer {
        Peer::Group(Ref::id("security-group", "id", id))
    } else if let Some(cidr) = rule.cidr_ipv4().or(rule.cidr_ipv6()) {
        Peer::Cidr(cidr.to_owned())
    } else {
        Peer::PrefixList(rule.prefix_list_id()?.to_owned())
    };
    Some(resource::SecurityGroupRule {
        group: Ref::id("security-group", "id", rule.group_id()?),
        direction: if rule.is_egress() == Some(true) { Direction::Egress } else { Direction::Ingress },
        protocol: protocol(rule),
        peer,
    })
}

/// AWS has names for four protocols; the numbers mean the same. Ports without meaning are -1.
fn protocol(rule: &types::SecurityGroupRule) -> Protocol {
    let name = match rule.ip_protocol().unwrap_or("-1") {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        name => name,
    };
    let has_ports = ["tcp", "udp", "icmp", "icmpv6"].contains(&name);
    let port = |port: Option<i32>| port.filter(|_| has_ports).unwrap_or(-1);
    Protocol { name: name.to_owned(), from: port(rule.from_port()), to: port(rule.to_port()) }
}

fn action(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ec2:AuthorizeSecurityGroupIngress",
        Direction::Egress => "ec2:AuthorizeSecurityGroupEgress",
    }
}

/// Makes rules of one group and direction. Those that are there already (a new group has one that lets
/// everything out) are as good as made.
async fn authorize(aws: &Aws, wanted: &[resource::SecurityGroupRule]) -> Result<Vec<Attrs>, Error> {
    let Some(first) = wanted.first() else { return Ok(Vec::new()) };
    let (group, direction) = (first.group.value()?, first.direction);
    let all: Vec<&resource::SecurityGroupRule> = wanted.iter().collect();
    let mut there = match call(aws, group, direction, &all).await {
        // One that is there already makes AWS refuse them all.
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            let mut there = describe(aws, &[group.to_owned()]).await?;
            let missing: Vec<_> = all.into_iter().filter(|want| find(&there, want).is_none()).collect();
            if !missing.is_empty() {
                there.extend(call(aws, group, direction, &missing).await?);
            }
            there
        }
        result => result?,
    };
    if wanted.iter().any(|want| find(&there, want).is_none()) {
        there = describe(aws, &[group.to_owned()]).await?;
    }
    let attrs = wanted.iter().map(|want| find(&there, want).map(ec2::attrs));
    attrs.collect::<Option<_>>().ok_or_else(|| Error::unexpected(action(direction), "rule id"))
}

/// The id of the rule that says what `want` says.
fn find<'a>(rules: &'a [types::SecurityGroupRule], want: &resource::SecurityGroupRule) -> Option<&'a str> {
    let found = rules.iter().find(|rule| {
        read(rule).is_some_and(|rule| {
            rule.direction == want.direction
                && rule.protocol == want.protocol
                && match (&rule.peer, &want.peer) {
                    (Peer::Group(a), Peer::Group(b)) => a.value().ok() == b.value().ok(),
                    (a, b) => a == b,
                }
        })
    });
    found?.security_group_rule_id()
}

/// One call that makes rules; gives those that the answer tells of.
async fn call(
    aws: &Aws,
    group: &str,
    direction: Direction,
    wanted: &[&resource::SecurityGroupRule],
) -> Result<Vec<types::SecurityGroupRule>, Error> {
    let permissions: Vec<IpPermission> =
        wanted.iter().map(|want| permission(want)).collect::<Result<_, _>>()?;
    let call = || async {
        let permissions = Some(permissions.clone());
        Ok(match direction {
            Direction::Ingress => {
                let call = aws.ec2.authorize_security_group_ingress().group_id(group);
                let answer = call.set_ip_permissions(permissions).send().await;
                answer.during(action(direction))?.security_group_rules
            }
            Direction::Egress => {
                let call = aws.ec2.authorize_security_group_egress().group_id(group);
                let answer = call.set_ip_permissions(permissions).send().await;
                answer.during(action(direction))?.security_group_rules
            }
        })
    };
    let rules = wait::retry(PROPAGATION, Error::is_not_found, call).await?;
    Ok(rules.unwrap_or_default())
}

fn permission(want: &resource::SecurityGroupRule) -> Result<IpPermission, Error> {
    let permission = IpPermission::builder()
        .ip_protocol(&want.protocol.name)
        .from_port(want.protocol.from)
        .to_port(want.protocol.to);
    Ok(match &want.peer {
        Peer::Cidr(cidr) if cidr.contains(':') => {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(cidr).build())
        }
        Peer::Cidr(cidr) => permission.ip_ranges(IpRange::builder().cidr_ip(cidr).build()),
        Peer::Group(group) => {
            permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(group.value()?).build())
        }
        Peer::PrefixList(id) => {
            permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(id).build())
        }
    }
    .build())
}

async fn revoke(aws: &Aws, group: &str, direction: Direction, ids: Vec<String>) -> Result<(), Error> {
    match direction {
        Direction::Ingress => {
            let call = aws.ec2.revoke_security_group_ingress().group_id(group);
            let call = call.set_security_group_rule_ids(Some(ids));
            call.send().await.during("ec2:RevokeSecurityGroupIngress")?;
        }
        Direction::Egress => {
            let call = aws.ec2.revoke_security_group_egress().group_id(group);
            let call = call.set_security_group_rule_ids(Some(ids));
            call.send().await.during("ec2:RevokeSecurityGroupEgress")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcl_engine::Action;
    use kcl_testkit::{Decision, Response};

    use crate::testing::{self, CLUSTER, World};

    fn rule(protocol: &str, ports: Option<(i32, i32)>) -> types::SecurityGroupRule {
        types::SecurityGroupRule::builder()
            .security_group_rule_id("sgr-1")
            .group_id("sg-1")
            .is_egress(false)
            .ip_protocol(protocol)
            .set_from_port(ports.map(|(from, _)| from))
            .set_to_port(ports.map(|(_, to)| to))
            .cidr_ipv4("0.0.0.0/0")
            .build()
    }

    #[test]
    fn protocols_have_one_spelling() {
        assert_eq!(protocol(&rule("-1", None)), Protocol::all());
        assert_eq!(protocol(&rule("-1", Some((0, 65535)))), Protocol::all());
        assert_eq!(protocol(&rule("6", Some((22, 22)))), Protocol::tcp(22, 22));
        assert_eq!(protocol(&rule("17", Some((1, 65535)))), Protocol::udp(1, 65535));
        assert_eq!(protocol(&rule("1", Some((3, 4)))), Protocol::icmp_fragmentation_needed());
        assert_eq!(protocol(&rule("4", None)), Protocol { name: "4".to_owned(), from: -1, to: -1 });
    }

    #[test]
    fn a_rule_is_found_by_what_it_says() {
        let rules = [rule("tcp", Some((22, 22)))];
        let want = resource::SecurityGroupRule {
            group: Ref::to("security-group", "nodes", "id"),
            direction: Direction::Ingress,
            protocol: Protocol::tcp(22, 22),
            peer: Peer::Cidr("0.0.0.0/0".to_owned()),
        };
        assert_eq!(find(&rules, &want), Some("sgr-1"));
        assert_eq!(find(&rules, &resource::SecurityGroupRule { direction: Direction::Egress, ..want }), None);
    }

    fn add_rule(wanted: &mut kcl_engine::Wanted, protocol: Protocol, peer: Peer) -> String {
        let group = format!("nodes.{CLUSTER}");
        let peer_name = match &peer {
            Peer::Group(Ref::To { id, .. }) => id.name.clone(),
            Peer::Group(Ref::Id { value, .. }) => value.clone(),
            Peer::Cidr(name) | Peer::PrefixList(name) => name.clone(),
        };
        let name = resource::SecurityGroupRule::name(&group, Direction::Ingress, &protocol, &peer_name);
        let rule = resource::SecurityGroupRule {
            group: testing::id("security-group", &group),
            direction: Direction::Ingress,
            protocol,
            peer,
        };
        testing::add(wanted, &name, &rule);
        name
    }

    #[tokio::test]
    async fn lives() {
        let world = World::start().await;
        let (mut first, mut second) = (testing::network(""), testing::network(""));
        let own = || Peer::Group(testing::id("security-group", &format!("nodes.{CLUSTER}")));
        let world_v6 = || Peer::Cidr("::/0".to_owned());
        for wanted in [&mut first, &mut second] {
            add_rule(wanted, Protocol::all(), own());
            add_rule(wanted, Protocol::icmp_fragmentation_needed(), Peer::Cidr("10.0.0.0/8".to_owned()));
            add_rule(wanted, Protocol { name: "icmpv6".to_owned(), from: -1, to: -1 }, world_v6());
        }
        let gone = add_rule(&mut first, Protocol::tcp(22, 22), world_v6());
        let new = add_rule(&mut second, Protocol::udp(1, 65535), own());
        world.reach(&first).await;
        assert_eq!(world.local.count("ec2", "AuthorizeSecurityGroupIngress"), 1, "made in one call");
        let done = world.round_trip(&first, &second).await;
        let expected = [
            (Action::Delete, format!("security-group-rule/{gone}")),
            (Action::Create, format!("security-group-rule/{new}")),
        ];
        assert_eq!(done, expected);
    }

    /// Whoever is asked too much is not asked for each rule by itself.
    #[tokio::test]
    async fn a_batch_that_is_throttled_stays_one_call() {
        let world = World::start().await;
        let mut wanted = testing::network("");
        world.reach(&wanted).await;
        add_rule(&mut wanted, Protocol::tcp(22, 22), Peer::Cidr("10.0.0.0/8".to_owned()));
        add_rule(&mut wanted, Protocol::tcp(443, 443), Peer::Cidr("10.0.0.0/8".to_owned()));
        let plan = world.plan(&wanted).await;
        world.local.before(|call| {
            if call.action != "AuthorizeSecurityGroupIngress" {
                return Decision::Forward;
            }
            Decision::Respond(Response::error(call.protocol, 503, "RequestLimitExceeded", "too many calls"))
        });
        world.local.take_calls();
        let failed = world.try_apply(&plan).await.expect_err("nothing is made");
        assert_eq!(failed.lines().count(), 2, "{failed}");
        let tries = usize::try_from(crate::refusals::ATTEMPTS).expect("a few");
        assert_eq!(
            world.local.count("ec2", "AuthorizeSecurityGroupIngress"),
            tries,
            "what one call is tried"
        );
    }

    #[tokio::test]
    async fn rules_of_controllers_are_left_alone() {
        let world = World::start().await;
        let wanted = testing::network("");
        world.reach(&wanted).await;
        let live = world.live(&wanted, Depth::Deep).await;
        let id = |kind: &str| {
            let node = live.iter().find(|node| node.id.kind.as_str() == kind).expect("it is there");
            node.attrs.get("id").expect("it has an id").clone()
        };
        let owned = format!("kubernetes.io/cluster/{CLUSTER}");
        let (vpc, nodes) = (id("vpc"), id("security-group"));
        let params = [
            ("GroupName", "k8s-elb-a1"),
            ("GroupDescription", "Security group for Kubernetes ELB a1 (web/web)"),
            ("VpcId", vpc.as_str()),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", "KubernetesCluster"),
            ("TagSpecification.1.Tag.1.Value", CLUSTER),
            ("TagSpecification.1.Tag.2.Key", &owned),
            ("TagSpecification.1.Tag.2.Value", "owned"),
        ];
        let made = world.local.direct("ec2", "CreateSecurityGroup", &params).expect("a controller's group");
        let theirs = made.value("groupId").to_owned();
        let permission = [
            ("GroupId", nodes.as_str()),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.Groups.1.GroupId", &theirs),
            ("IpPermissions.2.IpProtocol", "tcp"),
            ("IpPermissions.2.FromPort", "30000"),
            ("IpPermissions.2.ToPort", "32767"),
            ("IpPermissions.2.IpRanges.1.CidrIp", "0.0.0.0/0"),
            ("IpPermissions.2.IpRanges.1.Description", "kubernetes.io/rule/nlb/client=a1"),
        ];
        world
            .local
            .direct("ec2", "AuthorizeSecurityGroupIngress", &permission)
            .expect("a controller's rules");
        assert!(world.plan(&wanted).await.is_empty());
        // By hand, on any port: drift.
        let permission = [
            ("GroupId", nodes.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "8080"),
            ("IpPermissions.1.ToPort", "8080"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ];
        world.local.direct("ec2", "AuthorizeSecurityGroupIngress", &permission).expect("a rule by hand");
        let done = world.reach(&wanted).await;
        let name = format!("security-group-rule/nodes.{CLUSTER} in tcp 8080 from 0.0.0.0/0");
        assert_eq!(done, [(Action::Delete, name)]);
        // With the cluster they go, too.
        world.remove().await;
    }
}
