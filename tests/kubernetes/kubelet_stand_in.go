// kubelet-stand-in: what the kubelets of a cluster's machines would do in the API, without any machine.
//
// This is a fake. The local AWS has machines on paper only, and no container can run beside the tests; yet
// Kubernetes' real control plane needs somebody who registers Nodes and says of pods that they run. Nothing is
// ever pulled or started here, and what a pod's image does is told by the image's name:
//
//   - "does-not-exist" in it: the image cannot be pulled (ImagePullBackOff),
//   - "crashes" in it: the container ends again and again (CrashLoopBackOff),
//   - any other: it runs and is ready; the pods of a Job succeed at once.
//
// The machines are told in a file, which may change at any time: kcl's testkit writes it.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/version"
)

const (
	// Nodes of ours carry it, so that the next stand-in knows which ones to take away.
	standInAnnotation = "kcl.dev/kubelet-stand-in"
	// As kubelet does: a Node counts as lost some 50 seconds after its last lease.
	leaseSeconds  = 40
	renewInterval = 10 * time.Second
	// A test waits for each change of the list, and looking at a file costs nothing.
	lookInterval = 100 * time.Millisecond
)

// machineList is the content of the file. Once all of it holds, `<file>.done` has its generation.
type machineList struct {
	Generation int64     `json:"generation"`
	Machines   []machine `json:"machines"`
}

// machine is one that a kubelet would run on.
type machine struct {
	Name        string              `json:"name"`
	ProviderID  string              `json:"providerID"`
	Address     string              `json:"address"`
	Labels      map[string]string   `json:"labels"`
	Taints      []corev1.Taint      `json:"taints"`
	Capacity    corev1.ResourceList `json:"capacity"`
	Allocatable corev1.ResourceList `json:"allocatable"`
	// Why it is not ready, or nothing. Pods on the network of the machine run even so, as with a kubelet
	// that waits for its network plugin.
	NotReady string `json:"notReady"`
}

// kubelets are all of them in one.
type kubelets struct {
	client kubernetes.Interface
	pods   corelisters.PodLister
	queue  workqueue.TypedRateLimitingInterface[string]
	events record.EventRecorder
	// Where the API server asks for logs.
	port int32
	// The last part of the newest pod's address.
	addresses atomic.Uint32

	lock     sync.RWMutex
	machines map[string]machine
}

func runKubeletStandIn() int {
	flags := flag.NewFlagSet("kubelet-stand-in", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "file of an administrator")
	server := flags.String("server", "", "URL of the API server, instead of the kubeconfig's")
	path := flags.String("machines", "", "JSON file of the machines")
	_ = flags.Parse(os.Args[1:])
	if err := standIn(context.Background(), *kubeconfig, *server, *path); err != nil {
		say("%v", err)
		return 1
	}
	return 0
}

func standIn(ctx context.Context, kubeconfig, server, path string) error {
	config, err := clientcmd.BuildConfigFromFlags(server, kubeconfig)
	if err != nil {
		return err
	}
	// One client speaks for many machines.
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	k := &kubelets{
		client: client,
		pods:   factory.Core().V1().Pods().Lister(),
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
		events: broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet"}),
	}
	if k.port, err = serveLogs(factory.Core().V1().Pods().Lister()); err != nil {
		return err
	}
	informer := factory.Core().V1().Pods().Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    k.enqueue,
		UpdateFunc: func(_, pod any) { k.enqueue(pod) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for range 4 {
		go k.work(ctx)
	}
	k.follow(ctx, path)
	return nil
}

// follow makes the Nodes what the file says, whenever it changes, and renews their leases.
func (k *kubelets) follow(ctx context.Context, path string) {
	var done int64
	var renewed time.Time
	for ; ; time.Sleep(lookInterval) {
		list, err := readMachines(path)
		if err == nil && list.Generation != done {
			if err = k.apply(ctx, list.Machines); err == nil {
				done = list.Generation
				err = writeWhole(path+".done", fmt.Sprint(done))
			}
		}
		if err == nil && time.Since(renewed) > renewInterval {
			if err = k.renew(ctx); err == nil {
				renewed = time.Now()
			}
		}
		// An API server that is down for a while is no reason to end, and a conflict none to wait.
		if err != nil && !apierrors.IsConflict(err) {
			say("%v", err)
			time.Sleep(time.Second)
		}
	}
}

func readMachines(path string) (machineList, error) {
	var list machineList
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	return list, err
}

// writeWhole never leaves half a file to be read.
func writeWhole(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// apply registers the machines of the list and takes away what is no longer in it.
func (k *kubelets) apply(ctx context.Context, list []machine) error {
	machines := make(map[string]machine, len(list))
	for _, m := range list {
		machines[m.Name] = m
	}
	k.lock.Lock()
	k.machines = machines
	k.lock.Unlock()
	nodes, err := k.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		_, ours := node.Annotations[standInAnnotation]
		m, listed := machines[node.Name]
		// Another machine that got the name of an old one is another Node.
		if ours && (!listed || node.Spec.ProviderID != m.ProviderID) {
			if err := k.remove(ctx, node.Name); err != nil {
				return err
			}
		}
	}
	for _, m := range machines {
		if err := k.register(ctx, m); err != nil {
			return err
		}
	}
	if err := k.renew(ctx); err != nil {
		return err
	}
	// Pods that were bound before their machine came, or that waited for it to be ready.
	pods, err := k.pods.List(labels.Everything())
	for _, pod := range pods {
		k.enqueue(pod)
	}
	return err
}

// remove takes a Node away with its pods, which nobody will ever stop: what the cloud's controller and the
// garbage collector of pods do in some minutes.
func (k *kubelets) remove(ctx context.Context, name string) error {
	if err := ignoreNotFound(k.client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})); err != nil {
		return err
	}
	pods, err := k.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if err := k.gone(ctx, &pods.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// register makes the Node as a kubelet does, or takes it over; what others have set on it stays.
func (k *kubelets) register(ctx context.Context, m machine) error {
	nodes := k.client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, m.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = nodes.Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name:        m.Name,
				Labels:      m.labels(),
				Annotations: map[string]string{standInAnnotation: "nothing runs here"},
			},
			Spec: corev1.NodeSpec{ProviderID: m.ProviderID, Taints: m.Taints},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	node.Status = m.status(node.Status, k.port)
	_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func (m machine) labels() map[string]string {
	all := map[string]string{
		corev1.LabelHostname:   m.Name,
		corev1.LabelOSStable:   "linux",
		corev1.LabelArchStable: "amd64",
	}
	for name, value := range m.Labels {
		all[name] = value
	}
	return all
}

func (m machine) status(old corev1.NodeStatus, port int32) corev1.NodeStatus {
	status := *old.DeepCopy()
	status.Capacity, status.Allocatable = m.Capacity, m.Allocatable
	status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: m.Address},
		{Type: corev1.NodeHostName, Address: m.Name},
		// The only one under which the API server finds somebody who answers.
		{Type: corev1.NodeExternalDNS, Address: "localhost"},
	}
	status.DaemonEndpoints.KubeletEndpoint.Port = port
	status.NodeInfo = corev1.NodeSystemInfo{
		Architecture:            m.labels()[corev1.LabelArchStable],
		BootID:                  m.ProviderID,
		ContainerRuntimeVersion: "stand-in://0",
		KernelVersion:           "none",
		KubeletVersion:          version.Get().GitVersion,
		MachineID:               m.ProviderID,
		OperatingSystem:         "linux",
		OSImage:                 "none: a stand-in",
		SystemUUID:              m.ProviderID,
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}
	if m.NotReady != "" {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", m.NotReady
	}
	conditions := []corev1.NodeCondition{ready}
	for _, pressure := range []corev1.NodeConditionType{
		corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
	} {
		conditions = append(conditions, corev1.NodeCondition{Type: pressure, Status: corev1.ConditionFalse})
	}
	for i := range conditions {
		now := metav1.Now()
		conditions[i].LastHeartbeatTime, conditions[i].LastTransitionTime = now, now
		for _, before := range old.Conditions {
			if before.Type == conditions[i].Type && before.Status == conditions[i].Status {
				conditions[i].LastTransitionTime = before.LastTransitionTime
			}
		}
	}
	status.Conditions = conditions
	return status
}

// renew says that every machine is still there.
func (k *kubelets) renew(ctx context.Context) error {
	k.lock.RLock()
	machines := k.machines
	k.lock.RUnlock()
	for name, m := range machines {
		node, err := k.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			// Somebody took it away; a kubelet would not come back by itself either.
			continue
		}
		if err == nil {
			err = k.renewLease(ctx, node)
		}
		// Whoever could not be heard for a while counts as lost until it says how it is.
		if status := m.status(node.Status, k.port); err == nil && ready(node.Status) != ready(status) {
			node.Status = status
			_, err = k.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func ready(status corev1.NodeStatus) corev1.ConditionStatus {
	for _, one := range status.Conditions {
		if one.Type == corev1.NodeReady {
			return one.Status
		}
	}
	return corev1.ConditionUnknown
}

func (k *kubelets) renewLease(ctx context.Context, node *corev1.Node) error {
	leases := k.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, seconds := metav1.NowMicro(), int32(leaseSeconds)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &node.Name, LeaseDurationSeconds: &seconds, RenewTime: &now}
	lease, err := leases.Get(ctx, node.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
		meta := metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{owner}}
		_, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec = spec
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	// That of a Node of the same name that is gone; the next renewal makes another.
	return ignoreNotFound(err)
}

func (k *kubelets) enqueue(pod any) {
	if key, err := cache.MetaNamespaceKeyFunc(pod); err == nil {
		k.queue.Add(key)
	}
}

func (k *kubelets) work(ctx context.Context) {
	for {
		key, ended := k.queue.Get()
		if ended {
			return
		}
		if err := k.sync(ctx, key); err == nil {
			k.queue.Forget(key)
		} else {
			// A conflict says only that the cache is a moment behind.
			if !apierrors.IsConflict(err) {
				say("pod %s: %v", key, err)
			}
			k.queue.AddRateLimited(key)
		}
		k.queue.Done(key)
	}
}

// sync makes one pod's status what its kubelet would say.
func (k *kubelets) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return err
	}
	pod, err := k.pods.Pods(namespace).Get(name)
	if err != nil {
		return ignoreNotFound(err)
	}
	k.lock.RLock()
	m, ours := k.machines[pod.Spec.NodeName]
	k.lock.RUnlock()
	if !ours {
		return nil
	}
	if pod.DeletionTimestamp != nil {
		return k.gone(ctx, pod)
	}
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	waits := m.NotReady != "" && !pod.Spec.HostNetwork
	if ended || waits {
		return nil
	}
	changed := pod.DeepCopy()
	k.run(changed, m)
	if equality.Semantic.DeepEqual(pod.Status, changed.Status) {
		return nil
	}
	if _, err := k.client.CoreV1().Pods(namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return ignoreNotFound(err)
	}
	k.tell(pod, changed)
	return nil
}

// gone is what a kubelet says once the last container has ended; here they end at once.
func (k *kubelets) gone(ctx context.Context, pod *corev1.Pod) error {
	options := metav1.NewDeleteOptions(0)
	options.Preconditions = metav1.NewUIDPreconditions(string(pod.UID))
	err := k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *options)
	if apierrors.IsConflict(err) {
		return nil
	}
	return ignoreNotFound(err)
}

// run gives a pod the status that it would have come to by now.
func (k *kubelets) run(pod *corev1.Pod, m machine) {
	status := &pod.Status
	old := func(list []corev1.ContainerStatus, name string) corev1.ContainerStatus {
		for _, one := range list {
			if one.Name == name {
				return one
			}
		}
		return corev1.ContainerStatus{}
	}
	inits, initialized := []corev1.ContainerStatus{}, true
	for _, c := range pod.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		one := container(pod, c, old(status.InitContainerStatuses, c.Name), initialized, !sidecar)
		initialized = initialized && one.Ready
		inits = append(inits, one)
	}
	containers, ready, finishes := []corev1.ContainerStatus{}, initialized, isOfJob(pod)
	for _, c := range pod.Spec.Containers {
		one := container(pod, c, old(status.ContainerStatuses, c.Name), initialized, finishes)
		ready = ready && one.Ready
		containers = append(containers, one)
	}
	succeeded := ready && finishes
	for i := range containers {
		// One that has ended is not ready any more; "ready" above told whether it came so far.
		containers[i].Ready = containers[i].Ready && !finishes
	}
	status.InitContainerStatuses, status.ContainerStatuses = inits, containers
	status.Phase = phase(containers, succeeded)
	if status.StartTime == nil {
		now := metav1.Now()
		status.StartTime = &now
	}
	status.HostIP, status.HostIPs = m.Address, []corev1.HostIP{{IP: m.Address}}
	if pod.Spec.HostNetwork {
		status.PodIP = m.Address
	} else if status.PodIP == "" {
		number := k.addresses.Add(1)
		status.PodIP = fmt.Sprintf("100.96.%d.%d", number/250, number%250+1)
	}
	status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	condition(pod, corev1.PodReadyToStartContainers, true)
	condition(pod, corev1.PodInitialized, initialized)
	condition(pod, corev1.ContainersReady, ready && !finishes)
	condition(pod, corev1.PodReady, ready && !finishes)
}

func isOfJob(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "Job"
}

func phase(containers []corev1.ContainerStatus, succeeded bool) corev1.PodPhase {
	if succeeded {
		return corev1.PodSucceeded
	}
	for _, one := range containers {
		// A kubelet, too, takes what has run before for running.
		if one.State.Waiting != nil && one.LastTerminationState.Terminated == nil {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// container is the status of one that may start (`starts`) and then ends well (`finishes`) or stays.
func container(pod *corev1.Pod, c corev1.Container, old corev1.ContainerStatus, starts, finishes bool) corev1.ContainerStatus {
	status := corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{}}
	waiting := func(reason, message string) {
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
	}
	started := false
	switch {
	case !starts:
		waiting("PodInitializing", "")
	case strings.Contains(c.Image, "does-not-exist"):
		waiting("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s: not found", c.Image, c.Image))
	case strings.Contains(c.Image, "crashes"):
		status.RestartCount = 5
		waiting("CrashLoopBackOff", fmt.Sprintf("back-off 2m40s restarting failed container=%s pod=%s_%s(%s)",
			c.Name, pod.Name, pod.Namespace, pod.UID))
		status.LastTerminationState = old.LastTerminationState
		if old.LastTerminationState.Terminated == nil {
			status.LastTerminationState.Terminated = terminated(pod, c, 1, "Error")
		}
	case finishes:
		status.Ready = true
		status.State.Terminated = old.State.Terminated
		if status.State.Terminated == nil {
			status.State.Terminated = terminated(pod, c, 0, "Completed")
		}
	default:
		started, status.Ready = true, true
		status.State.Running = old.State.Running
		if status.State.Running == nil {
			status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
		}
	}
	status.Started = &started
	if status.Ready || status.RestartCount > 0 {
		status.ImageID, status.ContainerID = c.Image, containerID(pod, c)
	}
	return status
}

func containerID(pod *corev1.Pod, c corev1.Container) string {
	return fmt.Sprintf("stand-in://%s/%s", pod.UID, c.Name)
}

func terminated(pod *corev1.Pod, c corev1.Container, code int32, reason string) *corev1.ContainerStateTerminated {
	now := metav1.Now()
	return &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: now, FinishedAt: now, ContainerID: containerID(pod, c),
	}
}

// condition sets one of a pod's conditions; those of others stay.
func condition(pod *corev1.Pod, kind corev1.PodConditionType, holds bool) {
	wanted := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !holds {
		wanted.Status = corev1.ConditionFalse
		switch {
		case kind == corev1.PodInitialized:
			wanted.Reason = "ContainersNotInitialized"
		case isOfJob(pod) && pod.Status.Phase == corev1.PodSucceeded:
			wanted.Reason = "PodCompleted"
		default:
			wanted.Reason = "ContainersNotReady"
		}
	}
	wanted.ObservedGeneration = pod.Generation
	for i, before := range pod.Status.Conditions {
		if before.Type == kind {
			if before.Status == wanted.Status {
				wanted.LastTransitionTime = before.LastTransitionTime
			}
			pod.Status.Conditions[i] = wanted
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, wanted)
}

// tell makes the events of what is new in a pod's status.
func (k *kubelets) tell(before, after *corev1.Pod) {
	reasons := map[string]string{}
	for _, one := range allContainers(before) {
		reasons[one.Name] = reason(one)
	}
	for _, one := range allContainers(after) {
		if reason(one) == reasons[one.Name] {
			continue
		}
		switch reason(one) {
		case "ImagePullBackOff":
			k.events.Eventf(after, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s: not found", one.Image, one.Image)
			k.events.Event(after, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		case "CrashLoopBackOff":
			k.events.Eventf(after, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)",
				one.Name, after.Name, after.Namespace, after.UID)
		case "":
			k.events.Eventf(after, corev1.EventTypeNormal, "Started", "Container started")
		}
	}
}

func allContainers(pod *corev1.Pod) []corev1.ContainerStatus {
	return append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
}

func reason(one corev1.ContainerStatus) string {
	switch {
	case one.State.Waiting != nil:
		return one.State.Waiting.Reason
	case one.State.Running == nil && one.State.Terminated == nil:
		return "nothing yet"
	}
	return ""
}

// serveLogs answers what the API server asks a kubelet for `kubectl logs`; gives the port.
func serveLogs(pods corelisters.PodLister) (int32, error) {
	certificate, key, err := certutil.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		return 0, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return 0, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return 0, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		pod, err := pods.Pods(r.PathValue("namespace")).Get(r.PathValue("pod"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		for _, one := range allContainers(pod) {
			if one.Name == r.PathValue("container") && one.RestartCount > 0 {
				fmt.Fprintf(w, "%s starts\n%s ends: its name says that it crashes\n", one.Image, one.Image)
			}
		}
	})
	go func() {
		if err := http.Serve(listener, mux); !errors.Is(err, http.ErrServerClosed) {
			say("logs: %v", err)
		}
	}()
	return int32(listener.Addr().(*net.TCPAddr).Port), nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func say(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "kubelet-stand-in: "+format+"\n", values...)
}
