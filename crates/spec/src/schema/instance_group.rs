//! `kind: InstanceGroup`: machines that are alike.

use super::Metadata;
use super::cluster::anonymous_auth_only;
use crate::read::{Anything, Dict, List, Scalar, choice, is_true, object};

object! {
    /// Machines that are alike: a launch template and an auto scaling group.
    InstanceGroupDocument {
        /// `kops.k8s.io/v1alpha2`
        used api_version: String = "apiVersion",
        /// `InstanceGroup`
        used kind: String = "kind",
        /// Its name, and the label `kops.k8s.io/cluster`.
        used metadata: Metadata = "metadata",
        /// What is wanted.
        used spec: InstanceGroupSpec = "spec",
    }
}

choice! {
    /// What the machines of a group do.
    RoleSpec("role") {
        /// Runs the API server and etcd.
        ControlPlane = "ControlPlane" | "Master" | "control-plane" | "master",
        /// Runs the pods.
        Node = "Node" | "node",
        /// A way in over SSH.
        Bastion = "Bastion" | "bastion",
        /// An API server without etcd; kOps has it, kcl does not.
        ApiServer = "APIServer" | "apiserver",
    }
}

object! {
    /// What is wanted of an instance group.
    InstanceGroupSpec {
        /// Who manages the machines; only `CloudGroup`, an auto scaling group.
        used manager: String = "manager",
        /// What the machines do.
        used role: RoleSpec = "role",
        /// The machine image: `ami-...`, `owner/name`, or `ssm:/path/of/a/parameter`.
        used image: String = "image",
        /// Smallest number of machines; 2 for nodes, else 1.
        used min_size: i64 = "minSize",
        /// Largest number of machines; 2 for nodes, else 1.
        used max_size: i64 = "maxSize",
        /// The cluster autoscaler may change the size; true by default.
        used autoscale: bool = "autoscale",
        /// The group's priority for the cluster autoscaler's expander `priority`; 0 by default.
        used autoscale_priority: i64 = "autoscalePriority",
        /// The EC2 instance type; `t3.medium` by default, `t3.micro` for bastions.
        used machine_type: String = "machineType",
        /// Size of the root disk in GiB; 64 for the control plane, 128 for nodes, 32 for bastions.
        used root_volume_size: i64 = "rootVolumeSize",
        /// EBS type of the root disk; `gp3` by default.
        used root_volume_type: VolumeTypeSpec = "rootVolumeType",
        /// IOPS of the root disk (gp3, io1, io2); 3000 by default.
        used root_volume_iops: i64 = "rootVolumeIops",
        /// Throughput of the root disk in MiB/s (gp3); 125 by default.
        used root_volume_throughput: i64 = "rootVolumeThroughput",
        /// Dedicated bandwidth between machine and EBS.
        used root_volume_optimization: bool = "rootVolumeOptimization",
        /// The root disk goes with its machine, always.
        unused_unless(is_true) root_volume_delete_on_termination: bool = "rootVolumeDeleteOnTermination",
        /// The root disk is encrypted; true by default.
        used root_volume_encryption: bool = "rootVolumeEncryption",
        /// KMS key of the root disk.
        used root_volume_encryption_key: String = "rootVolumeEncryptionKey",
        /// The root disk, in the newer spelling; not together with `rootVolume...`.
        used root_volume: RootVolumeSpec = "rootVolume",
        /// Further disks.
        used volumes: List<VolumeSpec> = "volumes",
        /// Where further disks are mounted.
        unused volume_mounts: List<Anything> = "volumeMounts",
        /// Names of the cluster's subnets that the machines stand in.
        used subnets: List<String> = "subnets",
        /// Means nothing on AWS, where subnets have a zone.
        unused zones: List<String> = "zones",
        /// Units to run on the machines.
        unused hooks: List<Anything> = "hooks",
        /// Spot machines, for at most this price per hour in USD.
        used max_price: Scalar = "maxPrice",
        /// Spot blocks: 60, 120, 180, 240, 300 or 360 minutes.
        used spot_duration_in_minutes: i64 = "spotDurationInMinutes",
        /// What happens to an interrupted spot machine.
        used instance_interruption_behavior: InterruptionSpec = "instanceInterruptionBehavior",
        /// CPU credits of burstable types.
        used cpu_credits: CpuCreditsSpec = "cpuCredits",
        /// Machines get a public address; by the type of the subnet when left out.
        used associate_public_ip: bool = "associatePublicIp",
        /// Security groups of your own beside the cluster's: `sg-...`.
        used additional_security_groups: List<String> = "additionalSecurityGroups",
        /// A security group of your own in place of the role's: `sg-...`.
        used security_group_override: String = "securityGroupOverride",
        /// Tags for the group's resources.
        used cloud_labels: Dict<String> = "cloudLabels",
        /// Labels for the Kubernetes nodes.
        used node_labels: Dict<String> = "nodeLabels",
        /// Files to write onto the machines.
        unused file_assets: List<Anything> = "fileAssets",
        /// Shared or dedicated hardware.
        used tenancy: TenancySpec = "tenancy",
        /// Options of the kubelet.
        unused_unless(anonymous_auth_only) kubelet: Anything = "kubelet",
        /// Taints for the Kubernetes nodes: `key=value:NoSchedule`.
        used taints: List<String> = "taints",
        /// A mix of instance types, on demand and spot.
        used mixed_instances_policy: MixedInstancesPolicySpec = "mixedInstancesPolicy",
        /// Parts to add to the user data.
        used additional_user_data: List<UserDataSpec> = "additionalUserData",
        /// Auto scaling processes to switch off.
        used suspend_processes: List<String> = "suspendProcesses",
        /// Target groups of your own to register the machines with.
        used external_load_balancers: List<ExternalLoadBalancerSpec> = "externalLoadBalancers",
        /// Metrics every minute in place of five.
        used detailed_instance_monitoring: bool = "detailedInstanceMonitoring",
        /// An instance profile of your own in place of the role's.
        used iam: IamProfileSpec = "iam",
        /// New machines are protected from scale-in.
        used instance_protection: bool = "instanceProtection",
        /// Kernel parameters: `name=value`.
        used sysctl_parameters: List<String> = "sysctlParameters",
        /// How the group is rolled.
        unused rolling_update: Anything = "rollingUpdate",
        /// Compress the user data.
        unused compress_user_data: bool = "compressUserData",
        /// The instance metadata service.
        used instance_metadata: InstanceMetadataSpec = "instanceMetadata",
        /// Upgrades of the operating system: `automatic` or `external`.
        unused update_policy: String = "updatePolicy",
        /// Machines kept stopped in reserve.
        unused warm_pool: Anything = "warmPool",
        /// Options of containerd.
        unused containerd: Anything = "containerd",
        /// Packages to install.
        unused packages: List<String> = "packages",
        /// Accelerators (Google Cloud).
        unused guest_accelerators: List<Anything> = "guestAccelerators",
        /// GPUs.
        unused gpus: Anything = "gpus",
        /// Machines older than this are replaced: `48h20m`; at least a day, or `0` for never.
        used max_instance_lifetime: Scalar = "maxInstanceLifetime",
        /// Replace spot machines before they are interrupted.
        unused capacity_rebalance: bool = "capacityRebalance",
        /// Provisioning model (Google Cloud).
        unused gcp_provisioning_model: String = "gcpProvisioningModel",
    }
}

object! {
    /// The root disk of a machine.
    RootVolumeSpec {
        /// Size in GiB.
        used size: i64 = "size",
        /// EBS type.
        used volume_type: VolumeTypeSpec = "type",
        /// IOPS (gp3, io1, io2).
        used iops: i64 = "iops",
        /// Throughput in MiB/s (gp3).
        used throughput: i64 = "throughput",
        /// Encrypted; true by default.
        used encryption: bool = "encryption",
        /// KMS key.
        used encryption_key: String = "encryptionKey",
        /// Dedicated bandwidth between machine and EBS.
        used optimization: bool = "optimization",
    }
}

object! {
    /// A further disk.
    VolumeSpec {
        /// The device's name: `/dev/xvdd`.
        used device: String = "device",
        /// Size in GiB.
        used size: i64 = "size",
        /// EBS type; `gp3` by default.
        used volume_type: VolumeTypeSpec = "type",
        /// IOPS (gp3, io1, io2).
        used iops: i64 = "iops",
        /// Throughput in MiB/s (gp3).
        used throughput: i64 = "throughput",
        /// Encrypted; true by default.
        used encrypted: bool = "encrypted",
        /// KMS key.
        used key: String = "key",
        /// It goes with its machine; true by default.
        used delete_on_termination: bool = "deleteOnTermination",
    }
}

choice! {
    /// EBS volume types.
    VolumeTypeSpec("volume type") {
        /// General purpose, IOPS by size.
        Gp2 = "gp2",
        /// General purpose, IOPS and throughput apart from size.
        Gp3 = "gp3",
        /// Provisioned IOPS.
        Io1 = "io1",
        /// Provisioned IOPS, more durable.
        Io2 = "io2",
        /// Throughput-optimised disks.
        St1 = "st1",
        /// Cold disks.
        Sc1 = "sc1",
        /// Magnetic.
        Standard = "standard",
    }
}

choice! {
    /// What happens to an interrupted spot machine.
    InterruptionSpec("interruption behaviour") {
        /// It is hibernated.
        Hibernate = "hibernate",
        /// It is stopped.
        Stop = "stop",
        /// It is terminated.
        Terminate = "terminate",
    }
}

choice! {
    /// CPU credits of burstable types.
    CpuCreditsSpec("kind of CPU credits") {
        /// Throttled when they are used up.
        Standard = "standard",
        /// Never throttled; billed instead.
        Unlimited = "unlimited",
    }
}

choice! {
    /// Whose hardware the machines share.
    TenancySpec("tenancy") {
        /// Shared hardware.
        Default = "default",
        /// Hardware of this account only.
        Dedicated = "dedicated",
        /// A dedicated host.
        Host = "host",
    }
}

object! {
    /// A mix of instance types, on demand and spot.
    MixedInstancesPolicySpec {
        /// Instance types, the most wanted first; the group's `machineType` when left out.
        used instances: List<String> = "instances",
        /// Any instance type with these properties.
        used instance_requirements: InstanceRequirementsSpec = "instanceRequirements",
        /// How on-demand types are chosen: `prioritized` or `lowest-price`.
        used on_demand_allocation_strategy: OnDemandStrategySpec = "onDemandAllocationStrategy",
        /// Number of on-demand machines before any spot one.
        used on_demand_base: i64 = "onDemandBase",
        /// Percentage of on-demand machines above the base. 0 (with a base of 0) is all spot.
        used on_demand_above_base: i64 = "onDemandAboveBase",
        /// How spot pools are chosen.
        used spot_allocation_strategy: SpotStrategySpec = "spotAllocationStrategy",
        /// Number of spot pools, with `lowest-price`.
        used spot_instance_pools: i64 = "spotInstancePools",
    }
}

choice! {
    /// How on-demand types are chosen.
    OnDemandStrategySpec("on-demand allocation strategy") {
        /// In the order of the list.
        Prioritized = "prioritized",
        /// The cheapest one.
        LowestPrice = "lowest-price",
    }
}

choice! {
    /// How spot pools are chosen.
    SpotStrategySpec("spot allocation strategy") {
        /// The cheapest pools.
        LowestPrice = "lowest-price",
        /// All pools alike; spot fleets have it, auto scaling groups do not.
        Diversified = "diversified",
        /// The pools with most capacity.
        CapacityOptimized = "capacity-optimized",
        /// The same, with regard to the order of the list.
        CapacityOptimizedPrioritized = "capacity-optimized-prioritized",
        /// The cheapest of the pools with capacity.
        PriceCapacityOptimized = "price-capacity-optimized",
    }
}

object! {
    /// Properties of acceptable instance types.
    InstanceRequirementsSpec {
        /// Number of vCPUs.
        used cpu: RangeSpec = "cpu",
        /// Memory: `4Gi`.
        used memory: RangeSpec = "memory",
    }
}

object! {
    /// A range of quantities.
    RangeSpec {
        /// At least this.
        used min: Scalar = "min",
        /// At most this.
        used max: Scalar = "max",
    }
}

object! {
    /// A part to add to the user data.
    UserDataSpec {
        /// File name of the part.
        used name: String = "name",
        /// Content type: `text/x-shellscript`, `text/cloud-config`...
        used content_type: String = "type",
        /// The part itself.
        used content: String = "content",
    }
}

object! {
    /// A target group of your own.
    ExternalLoadBalancerSpec {
        /// Name of a classic load balancer; kcl takes target groups only.
        used load_balancer_name: String = "loadBalancerName",
        /// ARN of a target group.
        used target_group_arn: String = "targetGroupArn",
    }
}

object! {
    /// An instance profile of your own.
    IamProfileSpec {
        /// Its ARN.
        used profile: String = "profile",
    }
}

object! {
    /// The instance metadata service.
    InstanceMetadataSpec {
        /// Hops that an answer may travel, 1 to 64; 1 by default.
        used http_put_response_hop_limit: i64 = "httpPutResponseHopLimit",
        /// `required` (the default): IMDSv2 only.
        used http_tokens: HttpTokensSpec = "httpTokens",
    }
}

choice! {
    /// Which versions of the metadata service answer.
    HttpTokensSpec("token state") {
        /// IMDSv1 and IMDSv2.
        Optional = "optional",
        /// IMDSv2 only.
        Required = "required",
    }
}
