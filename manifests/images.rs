//! Every image that kcl runs, pinned: the only place with a name or a version of one.

use kcl_spec::Cluster;
use kcl_spec::cluster::{Container, ImageMirror};

/// A pinned image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, with the registry but for Docker Hub's.
    pub name: &'static str,
    /// Its tag.
    pub tag: &'static str,
}

const fn image(name: &'static str, tag: &'static str) -> Image {
    Image { name, tag }
}

/// Holds a pod's namespaces: containerd's configuration names it.
pub const PAUSE: Image = image("registry.k8s.io/pause", "3.10.1");
/// F5's, not the community's, which ended in March 2026.
pub(crate) const NGINX_INGRESS: Image = image("nginx/nginx-ingress", "5.6.1");
pub(crate) const FLANNEL: Image = image("ghcr.io/flannel-io/flannel", "v0.28.9");
pub(crate) const FLANNEL_CNI_PLUGIN: Image =
    image("ghcr.io/flannel-io/flannel-cni-plugin", "v1.9.1-flannel3");
pub(crate) const CLOUD_CONTROLLER_MANAGER: Image =
    image("registry.k8s.io/provider-aws/cloud-controller-manager", "v1.36.1");
pub(crate) const EBS_CSI_DRIVER: Image = image("public.ecr.aws/ebs-csi-driver/aws-ebs-csi-driver", "v1.58.0");
pub(crate) const CSI_PROVISIONER: Image = image("registry.k8s.io/sig-storage/csi-provisioner", "v6.2.0");
pub(crate) const CSI_ATTACHER: Image = image("registry.k8s.io/sig-storage/csi-attacher", "v4.11.0");
pub(crate) const CSI_RESIZER: Image = image("registry.k8s.io/sig-storage/csi-resizer", "v2.1.0");
pub(crate) const CSI_NODE_DRIVER_REGISTRAR: Image =
    image("registry.k8s.io/sig-storage/csi-node-driver-registrar", "v2.16.0");
pub(crate) const CSI_LIVENESS_PROBE: Image = image("registry.k8s.io/sig-storage/livenessprobe", "v2.18.0");
pub(crate) const NODE_TERMINATION_HANDLER: Image =
    image("public.ecr.aws/aws-ec2/aws-node-termination-handler", "v1.25.5");
pub(crate) const CLUSTER_AUTOSCALER: Image =
    image("registry.k8s.io/autoscaling/cluster-autoscaler", "v1.36.0");
pub(crate) const METRICS_SERVER: Image = image("registry.k8s.io/metrics-server/metrics-server", "v0.8.0");
pub(crate) const EXTERNAL_DNS: Image = image("registry.k8s.io/external-dns/external-dns", "v0.22.0");
/// EKS Distro's: the project's own registry gives nothing to those without an AWS account.
pub(crate) const IAM_AUTHENTICATOR: Image =
    image("public.ecr.aws/eks-distro/kubernetes-sigs/aws-iam-authenticator", "v0.7.13-eks-1-35-9");

/// All of them.
pub const ALL: [Image; 16] = [
    PAUSE,
    NGINX_INGRESS,
    FLANNEL,
    FLANNEL_CNI_PLUGIN,
    CLOUD_CONTROLLER_MANAGER,
    EBS_CSI_DRIVER,
    CSI_PROVISIONER,
    CSI_ATTACHER,
    CSI_RESIZER,
    CSI_NODE_DRIVER_REGISTRAR,
    CSI_LIVENESS_PROBE,
    NODE_TERMINATION_HANDLER,
    CLUSTER_AUTOSCALER,
    METRICS_SERVER,
    EXTERNAL_DNS,
    IAM_AUTHENTICATOR,
];

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// Where machines of the cluster get the image from.
pub fn pinned(cluster: &Cluster, image: Image) -> String {
    mirrored(cluster.image_mirror.as_ref(), &image.to_string())
}

/// The image of a container: the spec's own, else the pinned one, of the spec's release where it names one.
pub(crate) fn of(cluster: &Cluster, container: &Container, image: Image) -> String {
    let chosen = match (&container.image, &container.version) {
        (Some(own), _) => own.clone(),
        (None, Some(tag)) => format!("{}:{tag}", image.name),
        (None, None) => image.to_string(),
    };
    mirrored(cluster.image_mirror.as_ref(), &chosen)
}

/// An image by way of a mirror, under the name that kOps gives it there.
pub fn mirrored(mirror: Option<&ImageMirror>, image: &str) -> String {
    match mirror {
        None => image.to_owned(),
        Some(ImageMirror::Registry(registry)) => {
            let registry = registry.trim_end_matches('/');
            if image.starts_with(&format!("{registry}/")) {
                return image.to_owned();
            }
            // A registry need not take more than one level of names.
            let path = image.strip_prefix("registry.k8s.io/").unwrap_or(image);
            format!("{registry}/{}", path.replace('/', "-"))
        }
        Some(ImageMirror::Proxy(proxy)) => {
            let proxy = proxy.trim_end_matches('/');
            match image.split_once('/') {
                Some((registry, path)) if is_registry(registry) || path.contains('/') => {
                    format!("{proxy}/{path}")
                }
                // Docker Hub's, whose names have no registry.
                _ => format!("{proxy}/{image}"),
            }
        }
    }
}

fn is_registry(name: &str) -> bool {
    name.contains(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_kops_own() {
        let registry = ImageMirror::Registry("mirror.example/kops/".to_owned());
        let proxy = ImageMirror::Proxy("proxy.example:5000".to_owned());
        let cases = [
            (
                "registry.k8s.io/metrics-server/metrics-server:v0.8.0",
                "mirror.example/kops/metrics-server-metrics-server:v0.8.0",
                "proxy.example:5000/metrics-server/metrics-server:v0.8.0",
            ),
            (
                "registry.k8s.io/pause:3.10.1",
                "mirror.example/kops/pause:3.10.1",
                "proxy.example:5000/pause:3.10.1",
            ),
            (
                "nginx/nginx-ingress:5.6.1",
                "mirror.example/kops/nginx-nginx-ingress:5.6.1",
                "proxy.example:5000/nginx/nginx-ingress:5.6.1",
            ),
            ("busybox:1", "mirror.example/kops/busybox:1", "proxy.example:5000/busybox:1"),
            (
                "public.ecr.aws/ebs-csi-driver/aws-ebs-csi-driver:v1.58.0",
                "mirror.example/kops/public.ecr.aws-ebs-csi-driver-aws-ebs-csi-driver:v1.58.0",
                "proxy.example:5000/ebs-csi-driver/aws-ebs-csi-driver:v1.58.0",
            ),
        ];
        for (image, from_registry, from_proxy) in cases {
            assert_eq!(mirrored(None, image), image);
            assert_eq!(mirrored(Some(&registry), image), from_registry);
            assert_eq!(mirrored(Some(&registry), from_registry), from_registry, "twice is once");
            assert_eq!(mirrored(Some(&proxy), image), from_proxy);
        }
    }
}
