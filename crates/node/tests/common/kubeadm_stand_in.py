"""A stand-in for kubeadm on a machine in a folder: what needs containerd, systemd and fixed paths is done otherwise,
and the rest is done by the real kubeadm and the real etcd.

Certificates, kubeconfigs, and the manifests of etcd and the control plane are the real kubeadm's, of the very
configuration and patches that kcl-node wrote. Then etcd is run with the flags of its manifest, as a kubelet would.
`join --control-plane` is done as kubeadm does it (cmd/kubeadm/app/phases/etcd/local.go): a learner is added, started
with the members that there are, and promoted.

What a run finds in its way it refuses as kubeadm's preflight checks do, unless it is told to ignore it.
"""

import base64
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

HOME = pathlib.Path(os.environ["STAND_IN_HOME"])
ROOT = HOME / "root"
DRY = HOME / "dry"
KUBERNETES = ROOT / "etc/kubernetes"
MANIFESTS = KUBERNETES / "manifests"
DATA = ROOT / "var/lib/etcd/data"
# kubeadm takes no loopback address for a machine's.
FAR = "198.18.0.1"
TOKEN = "abcdef.0123456789abcdef"


def fail(text):
    print(f"error execution phase {text}", file=sys.stderr)
    sys.exit(1)


def option(name, default=""):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def values(text, key):
    return [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().startswith(f"{key}:")]


def init_config():
    """The configuration with this folder's paths in it."""
    text = (KUBERNETES / "kubeadm.yaml").read_text()
    address = values(text, "advertiseAddress")[0]
    text = text.replace(f"advertiseAddress: {address}", f"advertiseAddress: {FAR}")
    text = text.replace("/etc/kubernetes", str(KUBERNETES))
    sans = f"SANs:\n    - {address}\n"
    data = "    dataDir: /var/lib/etcd/data\n"
    text = text.replace(data, f"{data}    serverCert{sans}    peerCert{sans}")
    text = text.replace("  certSANs:\n", f"  certSANs:\n  - {address}\n")
    # Its keys of RSA take their time.
    text = text.replace("clusterName:", f"certificatesDir: {KUBERNETES}/pki\nencryptionAlgorithm: ECDSA-P256\nclusterName:")
    path = HOME / "kubeadm.yaml"
    path.write_text(text)
    return path, address


def real(*phase):
    path, _ = init_config()
    DRY.mkdir(exist_ok=True)
    command = [os.environ["STAND_IN_KUBEADM"], "init", "phase", *phase, "--config", str(path)]
    environment = {**os.environ, "KUBEADM_INIT_DRYRUN_DIR": str(DRY)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        fail(f"{phase[0]}: {ended.stdout}{ended.stderr}")


def manifest(name, *phase):
    real(*phase, "--dry-run")
    _, address = init_config()
    text = (DRY / f"{name}.yaml").read_text().replace(FAR, address)
    MANIFESTS.mkdir(parents=True, exist_ok=True)
    (MANIFESTS / f"{name}.yaml").write_text(text.replace(str(KUBERNETES), "/etc/kubernetes"))


def flags():
    """The command in etcd's manifest, for this folder and for an address of its own."""
    text = (MANIFESTS / "etcd.yaml").read_text()
    _, address = init_config()
    found = [line.strip()[2:] for line in text.splitlines() if line.strip().startswith("- --")]
    own = []
    for flag in found:
        name, _, value = flag.partition("=")
        if name == "--listen-client-urls":
            value = f"https://{address}:2379"
        value = value.replace("127.0.0.1:2381", f"{address}:2381")
        value = value.replace("/etc/kubernetes", str(KUBERNETES)).replace("/var/lib/etcd/data", str(DATA))
        own.append(f"{name}={value}" if value else name)
    return own


def stop_etcd():
    try:
        os.kill(int((HOME / "etcd.pid").read_text()), signal.SIGKILL)
        time.sleep(0.1)
    except (FileNotFoundError, ProcessLookupError):
        pass


def start_etcd():
    """What a kubelet does: etcd runs as its manifest says, and anew when that changes."""
    stop_etcd()
    DATA.mkdir(parents=True, exist_ok=True)
    DATA.chmod(0o700)
    log = (HOME / "etcd.log").open("ab")
    command = [os.environ["STAND_IN_ETCD"], *flags(), "--unsafe-no-fsync"]
    log.write((" ".join(command) + "\n").encode())
    log.flush()
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    (HOME / "etcd.pid").write_text(str(process.pid))


def wait_for_etcd():
    _, address = init_config()
    until = time.monotonic() + float(os.environ.get("STAND_IN_PATIENCE", "90"))
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://{address}:2381/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    fail("wait-control-plane: etcd is not ready")


def ask(address, method, body):
    context = ssl.create_default_context(cafile=KUBERNETES / "pki/etcd/ca.crt")
    client = KUBERNETES / "pki/apiserver-etcd-client"
    context.load_cert_chain(f"{client}.crt", f"{client}.key")
    request = urllib.request.Request(f"https://{address}:2379/v3/cluster/member/{method}", json.dumps(body).encode())
    with urllib.request.urlopen(request, context=context, timeout=15) as answer:
        return json.load(answer)


def insist(address, method, body, until=120):
    begun = time.monotonic()
    while True:
        try:
            return ask(address, method, body)
        except OSError as error:
            said = error.read().decode() if hasattr(error, "read") else str(error)
            if time.monotonic() - begun > until:
                fail(f"etcd-join: {method}: {said}")
            time.sleep(0.3)


def preflight(names):
    ignored = option("--ignore-preflight-errors").split(",")
    in_the_way = []
    for name in names:
        path = KUBERNETES / name
        if path.exists():
            in_the_way.append("FileAvailable--etc-kubernetes-" + name.replace("/", "-"))
    if any(DATA.glob("*")) and "pki/ca.crt" not in names:
        in_the_way.append("DirAvailable--var-lib-etcd-data")
    if "pki/ca.crt" not in names:
        _, address = init_config()
        for port in [2379, 2380]:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((address, port)) == 0:
                    in_the_way.append(f"Port-{port}")
    refused = [name for name in in_the_way if name not in ignored]
    if refused:
        fail("preflight: [preflight] Some fatal errors occurred:\n" + "\n".join(f"\t[ERROR {name}]" for name in refused))


def kubelet(server):
    folder = ROOT / "var/lib/kubelet/pki"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kubelet-client-current.pem").write_text("a kubelet's certificate and key\n")
    (folder.parent / "config.yaml").write_text("a kubelet's configuration\n")
    (folder.parent / "config.yaml").chmod(0o644)
    config = KUBERNETES / "kubelet.conf"
    if not config.exists():
        config.write_text(f"server: {server}\n")
        config.chmod(0o600)


MANIFEST_NAMES = [f"manifests/{name}.yaml" for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]]


def components():
    for name in ["apiserver", "controller-manager", "scheduler"]:
        manifest(f"kube-{name}", "control-plane", name)


def trip(place):
    """Fails where a test wants it to."""
    if (HOME / f"kubeadm-trips-{place}").exists():
        fail(f"{place}: a stumble, with the token {TOKEN}")


def init():
    preflight(MANIFEST_NAMES)
    real("certs", "all")
    real("kubeconfig", "all", "--kubeconfig-dir", str(KUBERNETES))
    trip("before-etcd")
    manifest("etcd", "etcd", "local")
    components()
    start_etcd()
    wait_for_etcd()
    kubelet("https://here")
    print(f"[bootstrap-token] Using token: {TOKEN}")
    trip("after-etcd")


def phase(arguments):
    if arguments[:2] == ["etcd", "local"]:
        manifest("etcd", "etcd", "local")
        start_etcd()
        wait_for_etcd()
    elif arguments[0] == "kubeconfig":
        real(*arguments, "--kubeconfig-dir", str(KUBERNETES))
    else:
        real(*arguments)


def join_control_plane():
    preflight([*MANIFEST_NAMES, "kubelet.conf", "bootstrap-kubelet.conf"])
    text = (KUBERNETES / "kubeadm-join.yaml").read_text()
    discovery = ROOT / values(text, "kubeConfigPath")[0].lstrip("/")
    endpoint = values(discovery.read_text(), "server")[0].removeprefix("https://").rsplit(":", 1)[0]
    hosts = [line.split() for line in (ROOT / "etc/hosts").read_text().splitlines()]
    other = next(words[0] for words in hosts if endpoint in words)
    name = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("  name:")][0]
    real("certs", "all")
    real("kubeconfig", "all", "--kubeconfig-dir", str(KUBERNETES))
    components()
    trip("before-etcd")
    _, address = init_config()
    peer = f"https://{address}:2380"
    members = insist(other, "list", {"linearizable": True})["members"]
    if not any(peer in member["peerURLs"] for member in members):
        members = insist(other, "add", {"peerURLs": [peer], "isLearner": True})["members"]
    initial = [f"{name if peer in m['peerURLs'] else m.get('name') or m['ID']}={m['peerURLs'][0]}" for m in members]
    manifest("etcd", "etcd", "local")
    path = MANIFESTS / "etcd.yaml"
    own = f"--initial-cluster={name}={peer}"
    assert own in path.read_text(), path.read_text()
    path.write_text(path.read_text().replace(own, f"--initial-cluster={','.join(initial)}\n    - --initial-cluster-state=existing"))
    start_etcd()
    trip("after-etcd")
    ids = [m["ID"] for m in members if peer in m["peerURLs"]]
    learner = [m for m in insist(other, "list", {"linearizable": True})["members"] if m["ID"] in ids and m.get("isLearner")]
    if learner:
        insist(other, "promote", {"ID": ids[0]})
    wait_for_etcd()
    kubelet("https://here")


def join():
    preflight(["kubelet.conf", "bootstrap-kubelet.conf", "pki/ca.crt"])
    text = (KUBERNETES / "kubeadm.yaml").read_text()
    discovery = (ROOT / values(text, "kubeConfigPath")[0].lstrip("/")).read_text()
    authority = base64.b64decode(values(discovery, "certificate-authority-data")[0])
    (KUBERNETES / "pki").mkdir(parents=True, exist_ok=True)
    (KUBERNETES / "pki/ca.crt").write_bytes(authority)
    trip("before-kubelet")
    if len(values(discovery, "token")[0]) != 23:
        fail("discovery: no token")
    kubelet(values(discovery, "server")[0])


def main():
    arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
    if arguments[:2] == ["init", "phase"]:
        words = sys.argv[3 : sys.argv.index("--config")]
        phase(words)
    elif arguments[0] == "init":
        init()
    elif arguments[0] == "join":
        controls = "controlPlane:" in pathlib.Path(option("--config")).read_text()
        join_control_plane() if controls else join()
    else:
        fail(f"unknown: {sys.argv}")


main()
