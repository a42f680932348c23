package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"d2nwg/llm/engine"
	"d2nwg/llm/engine/kernel"

	"github.com/urfave/cli/v2"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:      "bench",
		Usage:     "measure how fast a checkpoint is computed, and how far that is from this machine's limit",
		UsageText: "d2nwg bench DIR [--prefill N] [--decode N] [--batch N] [--arithmetic f32|bf16]",
		Description: describe(`Measures, one after the other: the peak of multiplications and additions in registers, the bandwidth of reading
memory, prefill (tokens of one prompt a second), decode (tokens a second, one after the other), and the same for a
batch of prompts over one shared prefix, each the best of three. Prefill is limited by the peak, decode by the
bandwidth. On Linux also what of the process is in memory after decoding one prompt.`,
			"d2nwg random --shape llama-3.2-1b --out models/random-1b && d2nwg bench models/random-1b", "LLaMA-3.2-1B's shape",
			"d2nwg bench models/mine --arithmetic f32 --json", "in float32, as JSON"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "prefill", Value: 512, Usage: "tokens of the prompt"},
			&cli.IntFlag{Name: "decode", Value: 32, Usage: "tokens to generate after it"},
			&cli.IntFlag{Name: "batch", Value: 16, Usage: "prompts over one shared prefix (0: none)"},
			arithmeticFlag("bf16"),
		},
		Action: action(runBench),
	}
}

// arithmeticFlag chooses what weights are multiplied with.
func arithmeticFlag(value string) cli.Flag {
	return &cli.StringFlag{Name: "arithmetic", Value: value, Usage: "f32, or bf16 where weights are stored so (faster, less exact)"}
}

func engineOptions(s *session) (engine.Options, error) {
	a, err := engine.ParseArithmetic(s.String("arithmetic"))
	if err != nil {
		return engine.Options{}, usagef("--arithmetic: %v", err)
	}
	return engine.Options{Arithmetic: a}, nil
}

// speed is what bench measured.
type speed struct {
	Kernel     string  `json:"kernel"`
	Threads    int     `json:"threads"`
	Arithmetic string  `json:"arithmetic"`
	Parameters int64   `json:"parameters"`
	Peak       float64 `json:"peak_gflops"`
	Bandwidth  float64 `json:"read_gbs"`
	Prefill    float64 `json:"prefill_tokens_per_s"`
	OfPeak     float64 `json:"prefill_of_peak"`
	Decode     float64 `json:"decode_tokens_per_s"`
	OfRead     float64 `json:"decode_of_read"`
	Batch      int     `json:"batch"`
	BatchRate  float64 `json:"batch_tokens_per_s"`
	Memory     memory  `json:"memory"` // after decoding, before the batch
}

func runBench(ctx context.Context, s *session) error {
	args, err := s.args("DIR")
	if err != nil {
		return err
	}
	prefill, decode := s.Int("prefill"), s.Int("decode")
	if prefill < 1 || decode < 1 || s.Int("batch") < 0 {
		return usagef("--prefill and --decode are 1 or more, --batch 0 or more")
	}
	options, err := engineOptions(s)
	if err != nil {
		return err
	}
	c, err := s.openCheckpoint(args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	model, err := engine.New(c, options)
	if err != nil {
		return err
	}
	if n := prefill + decode; n > c.Config.MaxPositions {
		return usagef("%d tokens, the model takes %d: choose --prefill and --decode smaller", n, c.Config.MaxPositions)
	}
	b := &bench{model: model, random: rand.New(rand.NewPCG(1, 1)), result: speed{
		Kernel: model.Kernel(), Threads: runtime.GOMAXPROCS(0), Arithmetic: s.String("arithmetic"),
		Parameters: c.Config.Parameters(), Batch: s.Int("batch"),
	}}
	if err := b.run(ctx, prefill, decode); err != nil {
		return err
	}
	return s.UI.Result(b.result, b.result.write)
}

type bench struct {
	model  *engine.Model
	random *rand.Rand
	result speed
}

// rounds is how often a speed is measured; the best counts, since others' load only ever lowers it.
const rounds = 3

func (b *bench) run(ctx context.Context, prefill, decode int) error {
	r := &b.result
	set, arithmetic := kernel.Best(), kernel.Float32
	if r.Arithmetic == "bf16" {
		arithmetic = kernel.BFloat16
	}
	r.Peak = set.Peak(arithmetic, r.Threads, time.Second/2) / 1e9
	prompt := b.prompt(prefill)
	if _, err := b.model.LogitsLast(prompt); err != nil { // brings the file into memory
		return err
	}
	for range rounds {
		start := time.Now()
		if _, err := b.model.LogitsLast(prompt); err != nil {
			return err
		}
		r.Prefill = max(r.Prefill, float64(prefill)/time.Since(start).Seconds())
	}
	c := b.model.Config()
	embedding := int64(c.VocabSize) * int64(c.HiddenSize)
	matrices := r.Parameters - embedding // the head computes one row of a prompt
	if !c.TieWordEmbeddings {
		matrices -= embedding
	}
	r.OfPeak = 2 * float64(matrices) * r.Prefill / 1e9 / r.Peak
	var err error
	for range rounds { // in turn, since what others leave of the bandwidth changes
		r.Bandwidth = max(r.Bandwidth, bandwidth(set, r.Threads))
		if r.Decode, err = b.decode(ctx, [][]int{prompt}, decode, r.Decode); err != nil {
			return err
		}
	}
	r.OfRead = float64(matrices+embedding) * b.bytes() * r.Decode / 1e9 / r.Bandwidth
	r.Memory = resident()
	if r.Batch > 0 {
		prompts := make([][]int, r.Batch)
		for i := range prompts {
			prompts[i] = append(append([]int{}, prompt[:len(prompt)-1]...), b.prompt(1)...)
		}
		for range rounds {
			if r.BatchRate, err = b.decode(ctx, prompts, decode, r.BatchRate); err != nil {
				return err
			}
		}
	}
	return nil
}

// bandwidth measures reading memory, in GB/s. The buffer for it is given back, so that it isn't counted as the model's.
func bandwidth(set *kernel.Set, threads int) float64 {
	defer debug.FreeOSMemory()
	buffer := make([]byte, 512<<20)
	for i := 0; i < len(buffer); i += 512 { // untouched memory is one page of zeros
		buffer[i] = byte(i >> 9)
	}
	return set.Bandwidth(buffer, threads, time.Second) / 1e9
}

// memory is what of a process is in memory, in MB (10⁶ bytes); zero where the system doesn't tell.
type memory struct {
	Resident float64 `json:"resident_mb,omitempty"`
	Mapped   float64 `json:"resident_mapped_mb,omitempty"` // of files: the weights, and the program
	Own      float64 `json:"resident_own_mb,omitempty"`
}

// resident reads Linux' account of this process.
func resident() memory {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return memory{}
	}
	return parseResident(string(status))
}

// parseResident reads the text of /proc/PID/status.
func parseResident(status string) (m memory) {
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			continue
		}
		mb := kib * 1024 / 1e6
		switch key {
		case "VmRSS":
			m.Resident = mb
		case "RssFile":
			m.Mapped = mb
		case "RssAnon":
			m.Own = mb
		}
	}
	return m
}

// bytes is the size of a weight.
func (b *bench) bytes() float64 {
	if b.model.Config().DType == "F32" {
		return 4
	}
	return 2
}

func (b *bench) prompt(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = b.random.IntN(b.model.Config().VocabSize)
	}
	return ids
}

// decode returns the tokens a second of generating n tokens after each prompt, from the first one's on, or best if that is
// more.
func (b *bench) decode(ctx context.Context, prompts [][]int, n int, best float64) (float64, error) {
	var start time.Time
	calls := 0
	steps := n + 1 // the first step computes the prompts
	err := b.model.Generate(ctx, prompts, func(int, []float32) (int, bool) {
		calls++
		if calls == len(prompts) {
			start = time.Now()
		}
		return calls * 31 % b.model.Config().VocabSize, calls <= len(prompts)*(steps-1)
	})
	return max(best, float64(n*len(prompts))/time.Since(start).Seconds()), err
}

func (r speed) write(w io.Writer) {
	fmt.Fprintf(w, "%d parameters, %s arithmetic, kernels %s, %d threads\n", r.Parameters, r.Arithmetic, r.Kernel, r.Threads)
	fmt.Fprintf(w, "peak       %8.0f GFLOP/s\n", r.Peak)
	fmt.Fprintf(w, "read       %8.1f GB/s\n", r.Bandwidth)
	fmt.Fprintf(w, "prefill    %8.1f tokens/s   %3.0f %% of the peak\n", r.Prefill, 100*r.OfPeak)
	fmt.Fprintf(w, "decode     %8.1f tokens/s   %3.0f %% of the bandwidth\n", r.Decode, 100*r.OfRead)
	if m := r.Memory; m.Resident > 0 {
		fmt.Fprintf(w, "resident   %8.0f MB         weights mapped %.0f MB, own %.0f MB\n", m.Resident, m.Mapped, m.Own)
	}
	if r.Batch > 0 {
		fmt.Fprintf(w, "batch      %8.1f tokens/s   %d prompts over one prefix, %.1f times one\n", r.BatchRate, r.Batch, r.BatchRate/r.Decode)
	}
}
