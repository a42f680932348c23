//go:build cgo

package compute

import (
	"os"
	"slices"
	"strings"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
)

// xlaDriver is XLA through a PJRT plugin, loaded at run time. It is meant for GPUs: auto passes it over on a machine without one.
func xlaDriver() driver {
	return driver{name: XLA, find: findXLA, open: openXLA, auto: hasGPU}
}

func openXLA(config string) (gomlx.Backend, error) {
	xla.EnableAutoInstall(false)
	return xla.New(config)
}

// findXLA looks for a plugin: the one that GOMLX_BACKEND names (xla:<path of the plugin>,<options>), else one in PJRT's own directories.
func findXLA() (string, Status) {
	xla.EnableAutoInstall(false)
	st := Status{Name: XLA}
	if config, ok := strings.CutPrefix(os.Getenv(gomlx.ConfigEnvVar), "xla:"); ok {
		path, _, _ := strings.Cut(config, ",")
		if _, err := os.Stat(path); err != nil && strings.ContainsRune(path, os.PathSeparator) {
			st.Why, st.Faster = gomlx.ConfigEnvVar+" names "+path+", which can't be read", "give the real path of a PJRT plugin"
			return "", st
		}
		st.Usable, st.Why = true, "XLA plugin "+path+" ("+gomlx.ConfigEnvVar+")"
		return config, st
	}
	plugins := xla.GetAvailablePlugins()
	if len(plugins) == 0 {
		st.Why = "no PJRT plugin found"
		st.Faster = "on a machine with a GPU, install a PJRT plugin and set " + gomlx.ConfigEnvVar + "=xla:<its path>"
		return "", st
	}
	slices.Sort(plugins)
	plugin := plugins[0]
	for _, p := range plugins {
		if strings.Contains(p, "cuda") {
			plugin = p
		}
	}
	st.Usable, st.Why = true, "XLA plugin "+plugin
	return plugin, st
}

// hasGPU reports whether the kernel drivers of NVIDIA or AMD compute devices are loaded.
func hasGPU() bool {
	for _, dev := range []string{"/dev/nvidiactl", "/dev/kfd"} {
		if _, err := os.Stat(dev); err == nil {
			return true
		}
	}
	return false
}
