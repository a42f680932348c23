package generator

import (
	"context"
	"syscall"
	"testing"
	"time"

	"d2nwg/internal/compute"
	"d2nwg/internal/progress"
)

// cpuTime is the processor time of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTrain measures training steps at the size of the demo: 66 tokens of 512, modern preset. It reports the fastest step and the one
// with the least processor time, because other work on the machine only ever adds to a step.
func BenchmarkTrain(b *testing.B) {
	for _, name := range []string{compute.Go, compute.ONNX} {
		b.Run(name, func(b *testing.B) {
			backend, err := compute.Open(context.Background(), name)
			if err != nil {
				b.Skip(err)
			}
			all := compose(loraSpecs(6), [3]int{4, 2, 2}, 128, 1, 1)
			cfg, err := Default(Modern)
			if err != nil {
				b.Fatal(err)
			}
			cfg.VAE.Steps, cfg.Diffusion.Steps = 25, 25
			fastest, cpu := map[string]time.Duration{}, map[string]time.Duration{}
			last, used := time.Now(), cpuTime()
			_, err = Train(context.Background(), cfg, all.set, TrainOptions{Backend: backend, Progress: func(e progress.Event) {
				if d := time.Since(last); e.Done > 2 && (fastest[e.Stage] == 0 || d < fastest[e.Stage]) {
					fastest[e.Stage] = d
				}
				if d := cpuTime() - used; e.Done > 2 && (cpu[e.Stage] == 0 || d < cpu[e.Stage]) {
					cpu[e.Stage] = d
				}
				last, used = time.Now(), cpuTime()
			}})
			if err != nil {
				b.Fatal(err)
			}
			for _, stage := range []string{"vae", "diffusion"} {
				b.ReportMetric(float64(fastest[stage].Microseconds())/1000, stage+"-ms/step")
				b.ReportMetric(float64(cpu[stage].Microseconds())/1000, stage+"-cpu-ms/step")
			}
		})
	}
}
