//! What has been deleted and is still going away.
//!
//! On AWS that takes minutes; here it takes a number of asks: each look at the thing (a Describe that would
//! show it, a delete that it makes fail) counts, and only the look after the last one finds it gone. Until
//! then it stays in moto, so that everything that depends on it is refused by the usual rules.

use std::sync::Mutex;

use crate::front::locked;
use crate::upstream::Ask;

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Thing {
    /// A NAT gateway, by id.
    NatGateway(String),
    /// A network interface of a deleted load balancer, by id.
    Interface(String),
    /// An Auto Scaling group, by name.
    Group(String),
}

/// One thing that is going away.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) thing: Thing,
    pub(super) region: String,
    /// Looks that still see it.
    pub(super) left: u32,
    /// Network interfaces that stay as long as it does.
    pub(super) interfaces: Vec<String>,
    /// Elastic addresses (allocation ids) likewise.
    pub(super) addresses: Vec<String>,
    /// Their associations.
    pub(super) associations: Vec<String>,
    /// Machines likewise.
    pub(super) instances: Vec<String>,
    /// Whether it has public addresses.
    pub(super) is_public: bool,
}

impl Departure {
    pub(super) fn new(thing: Thing, ask: &Ask, looks: u32) -> Self {
        Self {
            thing,
            region: ask.region().to_owned(),
            left: looks,
            interfaces: Vec::new(),
            addresses: Vec::new(),
            associations: Vec::new(),
            instances: Vec::new(),
            is_public: false,
        }
    }
}

/// All of them, of one account.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<Vec<Departure>>);

impl Leaving {
    /// Lets something go. What takes no look is gone at once.
    pub(super) async fn start(&self, departure: Departure, ask: &Ask) {
        if departure.left == 0 {
            finish(&departure, ask).await;
        } else {
            locked(&self.0).push(departure);
        }
    }

    /// Somebody looks at those that `sees` picks: what has been looked at often enough is gone now.
    pub(super) async fn look(&self, ask: &Ask, sees: impl Fn(&Departure) -> bool) {
        let mut gone = Vec::new();
        locked(&self.0).retain_mut(|departure| {
            if departure.region != ask.region() || !sees(departure) {
                return true;
            }
            if departure.left == 0 {
                gone.push(departure.clone());
                return false;
            }
            departure.left -= 1;
            true
        });
        for departure in gone {
            finish(&departure, ask).await;
        }
    }

    /// Whether it is going away.
    pub(super) fn has(&self, thing: &Thing, ask: &Ask) -> bool {
        locked(&self.0).iter().any(|departure| departure.thing == *thing && departure.region == ask.region())
    }

    /// Whether an interface that is going away has a public address.
    pub(super) fn is_public(&self, interface: &str) -> bool {
        let leaving = locked(&self.0);
        leaving
            .iter()
            .any(|departure| departure.is_public && departure.interfaces.iter().any(|id| id == interface))
    }

    /// Machines that are going away.
    pub(super) fn instances(&self, ask: &Ask) -> Vec<String> {
        let leaving = locked(&self.0);
        leaving
            .iter()
            .filter(|departure| departure.region == ask.region())
            .flat_map(|departure| departure.instances.clone())
            .collect()
    }
}

/// Makes it true in moto. What is gone already is fine, so that answers do not matter.
async fn finish(departure: &Departure, ask: &Ask) {
    match &departure.thing {
        Thing::NatGateway(id) => {
            drop(ask.ec2("DeleteNatGateway", &[("NatGatewayId", id)]).await);
            for association in &departure.associations {
                drop(ask.ec2("DisassociateAddress", &[("AssociationId", association)]).await);
            }
            for interface in &departure.interfaces {
                drop(ask.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", interface)]).await);
            }
        }
        Thing::Interface(id) => {
            drop(ask.ec2("DeleteNetworkInterface", &[("NetworkInterfaceId", id)]).await);
        }
        Thing::Group(name) => {
            let params = [("AutoScalingGroupName", name.as_str()), ("ForceDelete", "true")];
            drop(ask.autoscaling("DeleteAutoScalingGroup", &params).await);
        }
    }
}
