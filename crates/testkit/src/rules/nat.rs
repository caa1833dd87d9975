//! NAT gateways: `pending` for a while, and `deleting` for a while.
//!
//! Until it is `deleted` its network interface and the association of its elastic address stay, so that
//! subnet, address and internet gateway cannot go before it. No route leads to one that is `pending`: it "does not
//! exist". See
//! <https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html> and, for routes,
//! <https://github.com/boto/boto3/issues/779>. In moto all is instant, and the
//! interface stays for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};

use super::leaving::{Departure, Leaving, Thing};
use super::{Decision, Reply, Rule, Verdict, decided, refusal};
use crate::call::Call;
use crate::front::locked;
use crate::local_aws::FrontConfig;
use crate::upstream::Ask;
use crate::wire::Response;
use crate::xml::{Edits, Element};

pub(super) struct NatGateways {
    leaving: Arc<Leaving>,
    asks: u32,
    /// Looks that still see it pending, by id.
    pending: Mutex<HashMap<String, u32>>,
}

impl NatGateways {
    pub(super) fn new(config: &FrontConfig, leaving: Arc<Leaving>) -> Self {
        Self { leaving, asks: config.nat_asks, pending: Mutex::default() }
    }
}

impl Rule for NatGateways {
    fn before<'a>(&'a self, call: &'a Call, ask: &'a Ask) -> BoxFuture<'a, Decision> {
        async move {
            match (call.service.as_str(), call.action.as_str()) {
                ("ec2", "CreateNatGateway") => decided(address_is_free(call, ask).await),
                ("ec2", "CreateRoute" | "ReplaceRoute") => decided(self.leads_to_nothing_pending(call)),
                ("ec2", "DeleteNatGateway") => match self.delete(call, ask).await {
                    Ok(response) | Err(response) => Decision::Respond(response),
                },
                ("ec2", "DescribeNatGateways") => {
                    self.leaving.look(ask, |departure| matches!(departure.thing, Thing::NatGateway(_))).await;
                    Decision::Forward
                }
                _ => Decision::Forward,
            }
        }
        .boxed()
    }

    fn after<'a>(&'a self, call: &'a Call, response: Response, ask: &'a Ask) -> BoxFuture<'a, Reply> {
        let response = if call.service != "ec2" || !response.status.is_success() {
            response
        } else {
            match call.action.as_str() {
                "CreateNatGateway" => self.created(response),
                "DescribeNatGateways" => self.show(call, response, ask),
                _ => response,
            }
        };
        futures::future::ready(Reply::Send(response)).boxed()
    }
}

impl NatGateways {
    fn created(&self, response: Response) -> Response {
        if self.asks == 0 {
            return response;
        }
        let text = response.text();
        let root = Element::parse(&text);
        let Some(gateway) = root.get("natGateway") else { return response };
        locked(&self.pending).insert(gateway.value("natGatewayId").to_owned(), self.asks);
        let mut edits = Edits::of(&text);
        edits.set_child(gateway, "state", "pending");
        response.with_body(edits.apply())
    }

    fn leads_to_nothing_pending(&self, call: &Call) -> Verdict {
        let id = call.param("NatGatewayId");
        if !locked(&self.pending).contains_key(id) {
            return Ok(());
        }
        let message = format!("The natGateway ID '{id}' does not exist");
        Err(refusal(call, "InvalidNatGatewayID.NotFound", &message))
    }

    fn show(&self, call: &Call, response: Response, ask: &Ask) -> Response {
        let text = response.text();
        let root = Element::parse(&text);
        let mut edits = Edits::of(&text);
        let mut pending = locked(&self.pending);
        let states = states_asked_for(call);
        for gateway in root.all("natGatewaySet/item") {
            let id = gateway.value("natGatewayId").to_owned();
            let state = if self.leaving.has(&Thing::NatGateway(id.clone()), ask) {
                "deleting"
            } else if let Some(left) = pending.get_mut(&id) {
                *left -= 1;
                if *left == 0 {
                    pending.remove(&id);
                }
                "pending"
            } else {
                gateway.value("state")
            };
            // moto has filtered by its own idea of the state.
            if !states.is_empty() && !states.contains(&state) {
                edits.remove(gateway);
            } else if state != gateway.value("state") {
                edits.set_child(gateway, "state", state);
            }
        }
        if edits.is_empty() { response } else { response.with_body(edits.apply()) }
    }

    async fn delete(&self, call: &Call, ask: &Ask) -> Result<Response, Response> {
        let id = call.param("NatGatewayId");
        let missing = || {
            let message = format!("The Nat Gateway {id} was not found");
            refusal(call, "NatGatewayNotFound", &message)
        };
        let answer = ask.ec2("DescribeNatGateways", &[("NatGatewayId.1", id)]).await?;
        let gateway = answer.get("natGatewaySet/item").ok_or_else(missing)?;
        let thing = Thing::NatGateway(id.to_owned());
        if gateway.value("state") == "deleted" {
            return Err(missing());
        }
        if !self.leaving.has(&thing, ask) {
            locked(&self.pending).remove(id);
            let mut departure = Departure::new(thing, ask, self.asks);
            let all = |name: &str| {
                let values = gateway.values(&format!("natGatewayAddressSet/item/{name}"));
                values.into_iter().map(str::to_owned).collect()
            };
            departure.interfaces = all("networkInterfaceId");
            departure.addresses = all("allocationId");
            departure.associations = all("associationId");
            self.leaving.start(departure, ask).await;
        }
        Ok(Response::xml(format!(
            "<DeleteNatGatewayResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15\">\
             <requestId>kcl-local-aws</requestId><natGatewayId>{id}</natGatewayId></DeleteNatGatewayResponse>"
        )))
    }
}

/// Values of a filter on the state.
fn states_asked_for(call: &Call) -> Vec<&str> {
    (1..)
        .map_while(|index| {
            let name = call.params.get(&format!("Filter.{index}.Name"))?;
            Some((index, name))
        })
        .filter(|(_, name)| *name == "state")
        .flat_map(|(index, _)| call.list(&format!("Filter.{index}.Value")))
        .collect()
}

async fn address_is_free(call: &Call, ask: &Ask) -> Verdict {
    let allocation = call.param("AllocationId");
    if allocation.is_empty() {
        return Ok(());
    }
    let answer = ask.ec2("DescribeAddresses", &[("AllocationId.1", allocation)]).await?;
    if answer.value("addressesSet/item/associationId").is_empty() {
        return Ok(());
    }
    let message = format!("Elastic IP address [{allocation}] is already associated");
    Err(refusal(call, "Resource.AlreadyAssociated", &message))
}
