package engine

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"d2nwg/llm"
)

// TestSoak scores, generates and swaps variants for as long as D2NWG_SOAK says (10m), and requires that memory,
// goroutines and open files stop growing after the first tenth of the time.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("D2NWG_SOAK"))
	if err != nil {
		t.Skip("set D2NWG_SOAK to a duration such as 10m to run this test")
	}
	checkpoint, ref := randomModel(t, tiny(), 1)
	m, err := New(checkpoint, Options{Keep: &Budget{Memory: 1 << 20, Disk: 1 << 30}}) // a plan's layers take about as much
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	names := checkpoint.Tensors()
	round := func() {
		var reqs []Request
		for range 50 {
			reqs = append(reqs, Request{randomIDs(random, 3+random.IntN(100), 355), 1})
		}
		p, err := m.NewPlan(reqs, 2)
		if err != nil {
			t.Fatal(err)
		}
		name := names[random.IntN(len(names))].Name
		v, err := m.With(&llm.Variant{Base: checkpoint, Replace: map[string][]float32{name: ref.w[name]}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.ScorePlan(context.Background(), p); err != nil {
			t.Fatal(err)
		}
		p.Release()
		if _, err := m.Greedy(context.Background(), randomIDs(random, 1+random.IntN(50), 355), 20, nil); err != nil {
			t.Fatal(err)
		}
	}
	memory := func() (uint64, int) {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc, runtime.NumGoroutine()
	}
	run := func(d time.Duration) (rounds int) {
		for start := time.Now(); time.Since(start) < d; rounds++ {
			round()
		}
		return rounds
	}
	run(length / 10)
	heap, goroutines := memory()
	files := openFiles(t)
	rounds := run(length - length/10)
	later, more := memory()
	t.Logf("%d rounds: %d then %d KB, %d then %d goroutines, %d KB kept for plans", rounds, heap>>10, later>>10, goroutines, more,
		m.kept.memory.Load()>>10)
	if later > heap+heap/10+(1<<20) || more > goroutines || openFiles(t) > files || m.kept.memory.Load()+m.kept.disk.Load() != 0 {
		t.Error("memory, goroutines or open files grow")
	}
}
