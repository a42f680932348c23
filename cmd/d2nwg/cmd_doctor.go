package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"d2nwg/cmd/internal/ui"
	"d2nwg/internal/compute"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/cpu"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "say which backend is in use, why, and what would make it faster",
		UsageText: "d2nwg doctor [--json]",
		Description: describe("Looks at the build, the machine and the training backends. Changes nothing and downloads nothing.",
			"d2nwg doctor", "a report with advice at its end",
			"d2nwg doctor --json", "the same as an object"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "backend", Value: compute.Auto, Usage: "the backend to try: auto, go, onnx or xla"},
		},
		Action: action(runDoctor),
	}
}

// diagnosis is what doctor reports.
type diagnosis struct {
	Backend     string          `json:"backend"` // the one training would use now, "" when none can be opened
	Why         string          `json:"why"`
	Detail      string          `json:"detail,omitempty"`
	Candidates  []backendStatus `json:"candidates"`
	Build       version         `json:"build"`
	SIMD        bool            `json:"simd"` // built with GOEXPERIMENT=simd
	Cores       int             `json:"cores"`
	CPU         string          `json:"cpu,omitempty"`
	CPUFeatures []string        `json:"cpu_features"`
	Memory      memoryReport    `json:"memory"`
	Compiler    string          `json:"c_compiler,omitempty"`
	GPU         []string        `json:"gpu,omitempty"`
	Advice      []string        `json:"advice"`
}

type backendStatus struct {
	Name   string `json:"name"`
	Usable bool   `json:"usable"`
	Why    string `json:"why"`
	Faster string `json:"faster,omitempty"`
}

// memoryReport is in bytes; zero where the system does not say.
type memoryReport struct {
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
}

func runDoctor(ctx context.Context, s *session) error {
	if _, err := s.args(); err != nil {
		return err
	}
	d := diagnose(ctx, s.String("backend"))
	if err := s.UI.Result(d, d.write); err != nil {
		return err
	}
	if d.Backend == "" {
		return fmt.Errorf("no training backend can be opened: %s", d.Why)
	}
	return nil
}

func diagnose(ctx context.Context, backend string) diagnosis {
	build := buildVersion()
	d := diagnosis{
		Build: build, SIMD: strings.Contains(build.Experiment, "simd"),
		Cores: runtime.GOMAXPROCS(0), CPU: cpuModel(), CPUFeatures: cpuFeatures(), Memory: readMemory(),
		GPU: findGPUs(), Candidates: []backendStatus{}, Advice: []string{},
	}
	d.Compiler, _ = exec.LookPath("gcc")
	for _, c := range compute.Candidates() {
		d.Candidates = append(d.Candidates, backendStatus(c))
		if c.Faster != "" && !c.Usable {
			d.Advice = append(d.Advice, c.Name+": "+c.Faster)
		}
	}
	if b, err := compute.Open(ctx, backend); err != nil {
		d.Why = err.Error()
	} else {
		d.Backend, d.Why, d.Detail = b.Name, b.Why, b.Detail
		if b.Warning != "" {
			d.Advice = append(d.Advice, b.Warning)
		}
	}
	if !d.SIMD {
		d.Advice = append(d.Advice, "build with GOEXPERIMENT=simd (make build does): the go backend is then about 24 times faster")
	}
	if d.Compiler == "" {
		d.Advice = append(d.Advice, "install gcc and run make build again: cgo lets the onnx backend in, two to three times the speed of the go backend")
	}
	return d
}

func (d diagnosis) write(w io.Writer) {
	fmt.Fprintf(w, "backend   %s (%s)\n", orNone(d.Backend), d.Why)
	if d.Detail != "" {
		fmt.Fprintf(w, "          %s\n", d.Detail)
	}
	fmt.Fprintf(w, "build     %s %s, simd %s, cgo %s\n", d.Build.Go, d.Build.Platform, yesNo(d.SIMD), yesNo(d.Build.CGO))
	fmt.Fprintf(w, "cpu       %s, %d usable cores, %s\n", orNone(d.CPU), d.Cores, orNone(strings.Join(d.CPUFeatures, " ")))
	if d.Memory.Total > 0 {
		fmt.Fprintf(w, "memory    %s, %s available\n", ui.Bytes(d.Memory.Total), ui.Bytes(d.Memory.Available))
	}
	fmt.Fprintf(w, "compiler  %s\n", orNone(d.Compiler))
	fmt.Fprintf(w, "gpu       %s\n\n", orNone(strings.Join(d.GPU, ", ")))
	t := ui.NewTable("backend", "usable", "why")
	for _, c := range d.Candidates {
		t.Row(c.Name, yesNo(c.Usable), c.Why)
	}
	t.Write(w)
	if len(d.Advice) > 0 {
		fmt.Fprintln(w, "\nTo be faster:")
		for _, a := range d.Advice {
			fmt.Fprintf(w, "- %s\n", a)
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orNone(s string) string {
	if s == "" {
		return "none found"
	}
	return s
}

// cpuFeatures lists the vector extensions the kernels choose between.
func cpuFeatures() []string {
	features := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F},
		{"avx512bf16", cpu.X86.HasAVX512BF16}, {"avx512vnni", cpu.X86.HasAVX512VNNI}, {"amx_bf16", cpu.X86.HasAMXBF16},
		{"neon", cpu.ARM64.HasASIMD}, {"sve", cpu.ARM64.HasSVE},
	} {
		if f.has {
			features = append(features, f.name)
		}
	}
	return features
}

// cpuModel reads the processor's name from the kernel, "" where it isn't told.
func cpuModel() string { return procField("/proc/cpuinfo", "model name") }

// readMemory reads the machine's memory from the kernel.
func readMemory() memoryReport {
	kib := func(name string) int64 {
		var n int64
		fmt.Sscanf(procField("/proc/meminfo", name), "%d kB", &n)
		return n * 1024
	}
	return memoryReport{Total: kib("MemTotal"), Available: kib("MemAvailable")}
}

// procField returns the first value of a "name : value" line of a file, "" when there is none.
func procField(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// findGPUs lists the NVIDIA devices the driver shows.
func findGPUs() []string {
	paths, _ := filepath.Glob("/proc/driver/nvidia/gpus/*/information")
	var names []string
	for _, p := range paths {
		if model := procField(p, "Model"); model != "" {
			names = append(names, model)
		}
	}
	return names
}
