//! `kind: IngressController` of kcl's own group `kcl.dev/v1alpha1`.

use super::Metadata;
use crate::read::{List, choice, object};

object! {
    /// An NGINX ingress controller on every node, and how the world reaches it.
    IngressControllerDocument {
        /// `kcl.dev/v1alpha1`
        used api_version: String = "apiVersion",
        /// `IngressController`
        used kind: String = "kind",
        /// Its name is that of the DaemonSet.
        used metadata: Metadata = "metadata",
        /// What is wanted of it.
        used spec: IngressControllerSpec = "spec",
    }
}

object! {
    /// What is wanted of an ingress controller.
    IngressControllerSpec {
        /// The namespace it runs in; its own name by default.
        used namespace: String = "namespace",
        /// The name of its IngressClass; `nginx` by default.
        used ingress_class: String = "ingressClass",
        /// How the world reaches it.
        used load_balancer: IngressLoadBalancerSpec = "loadBalancer",
        /// DNS names that are to point to its load balancer. Each gets an alias record, where the
        /// account has a public hosted zone for it. With `managedBy: service` external-dns makes the
        /// records, where the Cluster has it (`externalDns: {provider: external-dns}`).
        used hosts: List<String> = "hosts",
    }
}

object! {
    /// The load balancer in front of an ingress controller.
    IngressLoadBalancerSpec {
        /// `kcl` (the default): kcl makes a network load balancer. `service`: a Service of type
        /// LoadBalancer asks the cloud controller for it.
        used managed_by: ManagedBy = "managedBy",
        /// The client's address is handed over by proxy protocol v2; true by default.
        used proxy_protocol: bool = "proxyProtocol",
        /// The API's load balancer carries the ingress listeners too: one load balancer less to
        /// pay. The API then is at port 6443. False by default.
        used share_with_api: bool = "shareWithApi",
    }
}

choice! {
    /// Who makes the load balancer of an ingress controller.
    ManagedBy("load balancer manager") {
        /// kcl makes it.
        Kcl = "kcl",
        /// A Service of type LoadBalancer asks the cloud controller for it.
        Service = "service",
    }
}
