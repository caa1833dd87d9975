// Kubernetes for tests: the real programs of one release, linked from their own modules into one binary.
//
// Which of them runs is told by the name that the binary is started under (a link `kubectl` to it is
// kubectl), or else by its first argument: `kubernetes kubectl version`. Nothing is changed in any of them. One
// is a fake of our own: kubelet-stand-in, in its own file.
// kcl's testkit builds this once per machine; update.sh takes it to another Kubernetes release.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // A CronJob may name a time zone, and the machine may know none.

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
	etcd "go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl with a kubeconfig that asks a provider.
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // Metrics of the clients within each program.
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmutil "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Each reads os.Args by itself, gives its exit code, or exits with it.
var programs = map[string]func() int{
	"etcd":                    func() int { etcd.Main(os.Args); return 0 },
	"etcdutl":                 runEtcdutl,
	"kube-apiserver":          component(apiserver.NewAPIServerCommand),
	"kube-controller-manager": component(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          component(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubeadm":                 func() int { kubeadmutil.HandleError(kubeadm.Run()); return 0 },
	"kubectl":                 runKubectl,
	"kubelet":                 component(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubelet-stand-in":        runKubeletStandIn,
}

func main() {
	if run := chosen(); run != nil {
		if os.Getenv("KUBERNETES_ENDS_WITH_STDIN") != "" {
			go endWithStdin()
		}
		os.Exit(run())
	}
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "usage: %s PROGRAM [ARGUMENT...], where PROGRAM is one of %s\n",
		filepath.Base(os.Args[0]), strings.Join(names, ", "))
	os.Exit(2)
}

// chosen takes the program's name from os.Args, so that the program sees what it would see alone.
func chosen() func() int {
	if run := programs[strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")]; run != nil {
		return run
	}
	if len(os.Args) > 1 && programs[os.Args[1]] != nil {
		os.Args = os.Args[1:]
		return programs[os.Args[0]]
	}
	return nil
}

// endWithStdin ends a server whose test is gone, however that ended: the other end of the pipe goes with it.
func endWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

// component is made only when it is run: making one changes what is global to the process.
func component(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

func runKubectl() int {
	// kubectl logs while its command is made, before the flags are parsed.
	if _, err := logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}

// runEtcdutl puts etcdutl's commands together as its own main package does, which cannot be imported.
func runEtcdutl() int {
	root := &cobra.Command{Use: "etcdutl", Short: "An administrative command line tool for etcd3."}
	root.PersistentFlags().StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple",
		"set the output format (fields, json, protobuf, simple, table)")
	root.AddCommand(etcdutl.NewDefragCommand(), etcdutl.NewSnapshotCommand(), etcdutl.NewHashKVCommand(),
		etcdutl.NewVersionCommand(), etcdutl.NewMigrateCommand())
	if root.Execute() != nil {
		return 1
	}
	return 0
}
