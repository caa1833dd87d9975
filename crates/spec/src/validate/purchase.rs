//! How machines are paid: on demand, spot, or a mix.

use super::check::Check;
use super::groups::machine_type;
use super::{syntax, value};
use crate::cluster::{
    CpuCredits, InstanceRequirements, InterruptionBehavior, MixedInstances, Purchase, SpotAllocationStrategy,
    SpotOptions,
};
use crate::machine_types::MachineType;
use crate::read::Scalar;
use crate::schema::instance_group::{
    CpuCreditsSpec, InstanceGroupSpec, InstanceRequirementsSpec, InterruptionSpec, MixedInstancesPolicySpec,
    OnDemandStrategySpec, RangeSpec, SpotStrategySpec,
};
use crate::source::{Located, Place};

/// How the machines of a group are paid. `default_type` is the group's own machine type.
pub(super) fn purchase(
    spec: &InstanceGroupSpec,
    default_type: &str,
    max_size: u32,
    check: &mut Check,
) -> Purchase {
    let max_price = spec.max_price.as_ref().map(|price| max_price(price, check));
    match (&spec.mixed_instances_policy, max_price) {
        (Some(policy), max_price) => {
            launch_template_only(spec, "with `mixedInstancesPolicy` the auto scaling group decides", check);
            Purchase::Mixed(mixed(policy, max_price, default_type, max_size, check))
        }
        (None, Some(max_price)) => Purchase::Spot(SpotOptions {
            max_price,
            duration_minutes: duration(spec, check),
            interruption_behavior: spec.instance_interruption_behavior.as_ref().map(|field| {
                match field.value {
                    InterruptionSpec::Hibernate => InterruptionBehavior::Hibernate,
                    InterruptionSpec::Stop => InterruptionBehavior::Stop,
                    InterruptionSpec::Terminate => InterruptionBehavior::Terminate,
                }
            }),
        }),
        (None, None) => {
            launch_template_only(spec, "set `maxPrice` for spot machines", check);
            Purchase::OnDemand
        }
    }
}

/// A price in USD per hour; what is no price is noted.
fn max_price(field: &Located<Scalar>, check: &mut Check) -> String {
    let text = &field.value.0;
    let is_price = text.parse::<f64>().is_ok_and(|price| price > 0.0 && price < 1e6)
        && text.chars().all(|char| char.is_ascii_digit() || char == '.');
    if !is_price {
        let title = format!("`{text}` is not a price");
        check.hinted(&field.place, title, "US dollars per hour, as in \"0.05\"");
    }
    text.clone()
}

/// Spot options of a launch template mean nothing elsewhere.
fn launch_template_only(spec: &InstanceGroupSpec, hint: &str, check: &mut Check) {
    let fields: [(&str, Option<&Place>); 2] = [
        ("spotDurationInMinutes", spec.spot_duration_in_minutes.as_ref().map(|field| &field.place)),
        (
            "instanceInterruptionBehavior",
            spec.instance_interruption_behavior.as_ref().map(|field| &field.place),
        ),
    ];
    for (name, place) in fields {
        if let Some(place) = place {
            check.warn(place, format!("`{name}` has no effect here"), hint);
        }
    }
}

fn duration(spec: &InstanceGroupSpec, check: &mut Check) -> Option<u32> {
    let field = spec.spot_duration_in_minutes.as_ref()?;
    let minutes =
        u32::try_from(field.value).ok().filter(|minutes| (60..=360).contains(minutes) && minutes % 60 == 0);
    if minutes.is_none() {
        check.hinted(
            &field.place,
            format!("a spot block cannot take {} minutes", syntax::spelled(field)),
            "60, 120, 180, 240, 300 or 360",
        );
    }
    minutes
}

fn mixed(
    policy: &Located<MixedInstancesPolicySpec>,
    max_price: Option<String>,
    default_type: &str,
    max_size: u32,
    check: &mut Check,
) -> MixedInstances {
    let Located { value: spec, place } = policy;
    let requirements = spec.instance_requirements.as_ref().map(|field| requirements(field, check));
    let instances = spec.instances.as_ref().map_or(&[][..], |list| &list.value);
    check.unique("instance type", instances);
    if let (Some(list), Some(_)) = (&spec.instances, &requirements) {
        check.hinted(
            &list.place,
            "`instances` and `instanceRequirements` exclude each other",
            "keep one of them",
        );
    }
    if requirements.is_some() {
        no_order(spec, check);
    }
    let mut instance_types: Vec<String> = instances.iter().map(|field| machine_type(field, check)).collect();
    same_architecture(instances, default_type, check);
    if instance_types.is_empty() && requirements.is_none() {
        instance_types.push(default_type.to_owned());
    }
    let spot_allocation = spec.spot_allocation_strategy.as_ref().map(|field| spot_strategy(field, check));
    let policy = MixedInstances {
        instance_types,
        requirements,
        on_demand_base: syntax::bounded(spec.on_demand_base.as_ref(), "`onDemandBase`", 0, max_size, check),
        on_demand_above_base: syntax::bounded(
            spec.on_demand_above_base.as_ref(),
            "`onDemandAboveBase`",
            0,
            100,
            check,
        ),
        on_demand_allocation_strategy: spec.on_demand_allocation_strategy.as_ref().map(|field| {
            match field.value {
                OnDemandStrategySpec::Prioritized => "prioritized",
                OnDemandStrategySpec::LowestPrice => "lowest-price",
            }
            .to_owned()
        }),
        spot_allocation_strategy: spot_allocation,
        spot_instance_pools: spot_pools(spec, spot_allocation, check),
        max_price,
    };
    // AWS' own default is 100 percent on demand.
    if policy.on_demand_above_base.is_none_or(|percent| percent == 100) && policy.max_price.is_some() {
        check.warn(
            place,
            "`maxPrice` is set, but every machine is on demand",
            "set `onDemandAboveBase` to 0 for spot",
        );
    }
    policy
}

/// What is chosen by its properties has no order: EC2 Auto Scaling refuses the strategies that go by one.
fn no_order(spec: &MixedInstancesPolicySpec, check: &mut Check) {
    let on_demand = spec.on_demand_allocation_strategy.as_ref();
    let on_demand = on_demand.filter(|field| field.value == OnDemandStrategySpec::Prioritized);
    let spot = spec.spot_allocation_strategy.as_ref();
    let spot = spot.filter(|field| field.value == SpotStrategySpec::CapacityOptimizedPrioritized);
    let fields = [
        (on_demand.map(|field| &field.place), "prioritized", "lowest-price"),
        (spot.map(|field| &field.place), "capacity-optimized-prioritized", "price-capacity-optimized"),
    ];
    for (place, strategy, other) in fields {
        if let Some(place) = place {
            let title = format!("`instanceRequirements` and the strategy `{strategy}` exclude each other");
            let hint = format!("the types have no order to go by: take `{other}`, or list `instances`");
            check.hinted(place, title, hint);
        }
    }
}

/// One image cannot run on two architectures.
fn same_architecture(instances: &[Located<String>], default_type: &str, check: &mut Check) {
    let architecture = |name: &str| MachineType::parse(name).map(MachineType::architecture);
    let Some(expected) = architecture(default_type) else { return };
    for field in instances {
        if architecture(&field.value).is_some_and(|found| found != expected) {
            let title = format!("`{}` has another processor architecture than `{default_type}`", field.value);
            check.hinted(
                &field.place,
                title,
                "one image runs on one architecture: make it a group of its own",
            );
        }
    }
}

/// A number of pools goes with the strategy `lowest-price`, which is also AWS' own default.
fn spot_pools(
    spec: &MixedInstancesPolicySpec,
    strategy: Option<SpotAllocationStrategy>,
    check: &mut Check,
) -> Option<u32> {
    let field = spec.spot_instance_pools.as_ref()?;
    if let Some(strategy) = strategy.filter(|strategy| *strategy != SpotAllocationStrategy::LowestPrice) {
        let title =
            format!("`spotInstancePools` and the strategy `{}` exclude each other", strategy.as_str());
        check.hinted(&field.place, title, "leave out one of them; pools go with `lowest-price`");
    }
    syntax::bounded(Some(field), "`spotInstancePools`", 1, 20, check)
}

fn spot_strategy(field: &Located<SpotStrategySpec>, check: &mut Check) -> SpotAllocationStrategy {
    match field.value {
        SpotStrategySpec::LowestPrice => SpotAllocationStrategy::LowestPrice,
        SpotStrategySpec::Diversified => {
            let title = "an auto scaling group has no strategy `diversified`";
            check.hinted(&field.place, title, "it is one of spot fleets; take `price-capacity-optimized`");
            // Harmless: it goes with any other field.
            SpotAllocationStrategy::LowestPrice
        }
        SpotStrategySpec::CapacityOptimized => SpotAllocationStrategy::CapacityOptimized,
        SpotStrategySpec::CapacityOptimizedPrioritized => {
            SpotAllocationStrategy::CapacityOptimizedPrioritized
        }
        SpotStrategySpec::PriceCapacityOptimized => SpotAllocationStrategy::PriceCapacityOptimized,
    }
}

fn requirements(field: &Located<InstanceRequirementsSpec>, check: &mut Check) -> InstanceRequirements {
    const MIB: u64 = 1024 * 1024;
    let (cpu_min, cpu_max) = range(field.value.cpu.as_ref(), 1, check);
    let (memory_min, memory_max) = range(field.value.memory.as_ref(), MIB, check);
    if cpu_min.is_none() || memory_min.is_none() {
        let hint = "EC2 wants both: `cpu: {min: \"2\"}` and `memory: {min: 2Gi}`";
        check.hinted(&field.place, "`instanceRequirements` without a least number of CPUs or memory", hint);
    }
    InstanceRequirements {
        cpu_min: cpu_min.unwrap_or(0),
        cpu_max,
        memory_min_mib: memory_min.unwrap_or(0),
        memory_max_mib: memory_max,
    }
}

/// A range of quantities, in multiples of `unit`.
fn range(field: Option<&Located<RangeSpec>>, unit: u64, check: &mut Check) -> (Option<u32>, Option<u32>) {
    let Some(field) = field else { return (None, None) };
    let mut read = |field: Option<&Located<Scalar>>| {
        let field = field?;
        let amount =
            syntax::quantity(&field.value.0).and_then(|amount| u32::try_from(amount.div_ceil(unit)).ok());
        if amount.is_none() {
            check.hinted(
                &field.place,
                format!("`{}` is not a quantity", field.value.0),
                "as in `2` or `4Gi`",
            );
        }
        amount
    };
    let (min, max) = (read(field.value.min.as_ref()), read(field.value.max.as_ref()));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        check.error(&field.place, "`min` is larger than `max`");
    }
    (min, max)
}

/// CPU credits, and a warning where they cost what nobody asked for.
pub(super) fn cpu_credits(
    spec: &InstanceGroupSpec,
    machine: &str,
    purchase: &Purchase,
    check: &mut Check,
) -> Option<CpuCredits> {
    let credits = value(spec.cpu_credits.as_ref()).map(|credits| match credits {
        CpuCreditsSpec::Standard => CpuCredits::Standard,
        CpuCreditsSpec::Unlimited => CpuCredits::Unlimited,
    });
    let Some(machine_type) = MachineType::parse(machine) else { return credits };
    if let Some(field) = spec.cpu_credits.as_ref().filter(|_| !machine_type.is_burstable()) {
        check.warn(
            &field.place,
            format!("machines of type {machine} have no CPU credits"),
            "only the t families have; leave it out",
        );
        return None;
    }
    let is_unlimited = match credits {
        Some(credits) => credits == CpuCredits::Unlimited,
        None => machine_type.is_unlimited_by_default(),
    };
    let is_spot = matches!(purchase, Purchase::Spot(_))
        || matches!(purchase, Purchase::Mixed(mix) if mix.is_all_spot());
    let place = spec.cpu_credits.as_ref().map(|field| &field.place).or(spot_place(spec));
    if let (true, true, Some(place)) = (is_unlimited && machine_type.is_burstable(), is_spot, place) {
        let title = format!("spot {machine} machines with unlimited CPU credits are billed for every burst");
        check.warn(place, title, "`cpuCredits: standard` never costs more than the price");
    }
    credits
}

/// Where the spec says that the machines are spot machines.
fn spot_place(spec: &InstanceGroupSpec) -> Option<&Place> {
    let policy = spec.mixed_instances_policy.as_ref().map(|field| &field.place);
    policy.or(spec.max_price.as_ref().map(|field| &field.place))
}
