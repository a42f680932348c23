package compute

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// TestBatchedProducts compares the four layouts of a batched product with plain loops, on every backend.
func TestBatchedProducts(t *testing.T) {
	const batch, rows, inner, columns = 3, 4, 5, 6
	rng := rand.New(rand.NewPCG(1, 2))
	values := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.NormFloat64())
		}
		return out
	}
	a, b := values(batch*rows*inner), values(batch*inner*columns) // (batch, rows, inner), (batch, inner, columns)
	want := make([]float64, batch*rows*columns)
	for n := range batch {
		for i := range rows {
			for j := range columns {
				for k := range inner {
					want[(n*rows+i)*columns+j] += float64(a[(n*rows+i)*inner+k]) * float64(b[(n*inner+k)*columns+j])
				}
			}
		}
	}
	for _, name := range []string{Go, ONNX} {
		backend, err := Open(context.Background(), name)
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		p, err := backend.Compile("products", func(g *graph.Graph) []*graph.Node {
			x := graph.Parameter(g, "a", shapes.Make(dtypes.Float32, batch, rows, inner))
			y := graph.Parameter(g, "b", shapes.Make(dtypes.Float32, batch, inner, columns))
			xt, yt := graph.TransposeAllAxes(x, 0, 2, 1), graph.TransposeAllAxes(y, 0, 2, 1)
			one, two, all := []int{1}, []int{2}, []int{0}
			return []*graph.Node{
				graph.DotGeneral(x, two, all, y, one, all), graph.DotGeneral(x, two, all, yt, two, all),
				graph.DotGeneral(xt, one, all, y, one, all), graph.DotGeneral(xt, one, all, yt, two, all),
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		in := []gomlx.Buffer{upload(t, backend, a, batch, rows, inner), upload(t, backend, b, batch, inner, columns)}
		out, err := p.Run(in)
		if err != nil {
			t.Fatal(err)
		}
		for layout, buf := range out {
			got := make([]float32, len(want))
			if err := buf.ToFlatData(got); err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if math.Abs(float64(got[i])-want[i]) > 1e-5 {
					t.Fatalf("%s, layout %d: entry %d is %v, want %v", name, layout, i, got[i], want[i])
				}
			}
		}
	}
}

func upload(t *testing.T, b *Backend, flat []float32, dims ...int) gomlx.Buffer {
	t.Helper()
	buf, err := b.GoMLX().BufferFromFlatData(0, flat, shapes.Make(dtypes.Float32, dims...))
	if err != nil {
		t.Fatal(err)
	}
	return buf
}
