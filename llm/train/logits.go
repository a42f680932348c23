package train

import (
	"context"
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"d2nwg/internal/compute"
	"d2nwg/llm"
	"d2nwg/llm/pack"
)

// LogitsFor runs the forward pass that training uses and returns its logits, (rows, length, vocab). It is there to compare this graph with
// llm/engine and for small evaluations, not for speed: it compiles its graph anew.
func LogitsFor(ctx context.Context, cfg llm.Config, weights Weights, batch *pack.Batch, backend *compute.Backend) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if backend == nil {
		return nil, fmt.Errorf("train: no backend given; open one with compute.Open")
	}
	lay := fullLayout(cfg)
	flat, err := lay.flatten(weights)
	if err != nil {
		return nil, err
	}
	arrays, err := newFeeder(cfg).arrays([]*pack.Batch{batch}, 0)
	if err != nil {
		return nil, err
	}
	p, err := backend.Compile("logits", func(g *graph.Graph) []*node {
		params := graph.Parameter(g, "params", shapes.Make(dtypes.Float32, 1, lay.size))
		in := newInputs(g, cfg, batch.Rows, batch.Len)
		n := newNet(cfg, backend, 1, in)
		lay.bindFull(n, params)
		logits, _ := n.forward(in.ids)
		return []*node{logits}
	})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	buffers, err := upload(backend.GoMLX(), append([]array{floats(flat, 1, lay.size)}, arrays...))
	if err != nil {
		return nil, err
	}
	defer release(buffers)
	out, err := p.Run(buffers)
	if err != nil {
		return nil, err
	}
	defer release(out)
	return download(out[0], batch.Rows*batch.Len*cfg.VocabSize)
}
