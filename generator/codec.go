package generator

import (
	"context"
	"fmt"

	"d2nwg/generator/vae"
	"d2nwg/internal/progress"
)

// encodeAll returns the latents of all sets, (sets, tokens·latent).
func (g *Generator) encodeAll(ctx context.Context, src *source, report progress.Func) ([]float32, error) {
	sets, total, latent := src.set.Len(), g.m.Tokens(), g.vae.LatentLen()
	z := make([]float32, sets*total*latent)
	b := g.vae.NewBatch()
	err := g.eachBatch(sets, func(places [][3]int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, p := range places {
			if err := g.place(src, b, p[0], p[1], p[2]); err != nil {
				return err
			}
		}
		out, err := g.vae.Encode(b)
		if err != nil {
			return err
		}
		for _, p := range places {
			copy(z[(p[1]*total+p[2])*latent:][:latent], out[p[0]*latent:])
		}
		last := places[len(places)-1]
		report.Report(progress.Event{Stage: "encode", Done: int64(last[1] + 1), Total: int64(sets)})
		return nil
	})
	return z, err
}

// eachBatch calls f with (row, set, token) of every token of the sets, one batch of the autoencoder at a time. An ordered autoencoder gets
// the rows of several sets at once, any other the tokens of one set after another.
func (g *Generator) eachBatch(sets int, f func(places [][3]int) error) error {
	total, rows := g.m.Tokens(), g.vae.Rows()
	if g.vae.Ordered() {
		together := g.vae.Sets()
		for first := 0; first < sets; first += together {
			var places [][3]int
			for set := first; set < min(first+together, sets); set++ {
				for token := range total {
					places = append(places, [3]int{token*together + set - first, set, token})
				}
			}
			if err := f(places); err != nil {
				return err
			}
		}
		return nil
	}
	for set := range sets {
		for first := 0; first < total; first += rows {
			var places [][3]int
			for token := first; token < min(first+rows, total); token++ {
				places = append(places, [3]int{token - first, set, token})
			}
			if err := f(places); err != nil {
				return err
			}
		}
	}
	return nil
}

// place puts a token of a set into a row of a batch.
func (g *Generator) place(src *source, b *vae.Batch, row, set, token int) error {
	_, err := src.token(set, token, b.X[row*g.m.ChunkLen:(row+1)*g.m.ChunkLen])
	copy(b.Arch[row*g.width:(row+1)*g.width], g.arch[token*g.width:(token+1)*g.width])
	return err
}

// decodeAll turns latents, (tokens·latent) a set, into weights. Tensors that keep refuses are left out; keep nil keeps all.
func (g *Generator) decodeAll(z [][]float32, keep func(tensor int) bool) ([]map[string][]float32, error) {
	latent, rows := g.vae.LatentLen(), g.vae.Rows()
	out := make([]map[string][]float32, len(z))
	for i := range out {
		out[i] = map[string][]float32{}
		for k, t := range g.m.Tensors {
			if keep == nil || keep(k) {
				out[i][t.Name] = make([]float32, t.Elements())
			}
		}
	}
	src := newSource(Set{}, g.m, nil)
	in, arch := make([]float32, rows*latent), make([]float32, rows*g.width)
	err := g.eachBatch(len(z), func(places [][3]int) error {
		wanted := false
		for _, p := range places {
			copy(in[p[0]*latent:(p[0]+1)*latent], z[p[1]][p[2]*latent:])
			copy(arch[p[0]*g.width:], g.arch[p[2]*g.width:(p[2]+1)*g.width])
			wanted = wanted || keep == nil || keep(src.at[p[2]])
		}
		if !wanted {
			return nil
		}
		x, err := g.vae.Decode(in, arch)
		if err != nil {
			return err
		}
		for _, p := range places {
			t := g.m.Tensors[src.at[p[2]]]
			values, ok := out[p[1]][t.Name]
			if !ok {
				continue
			}
			first := (p[2] - t.First) * g.m.ChunkLen
			dst := values[first : first+g.m.Valid(t, p[2]-t.First)]
			copy(dst, x[p[0]*g.m.ChunkLen:])
			t.Denormalize(dst)
			if c := g.center[t.Name]; c != nil {
				for i, v := range c[first : first+len(dst)] {
					dst[i] += v
				}
			}
		}
		return nil
	})
	return out, err
}

// Reconstruct returns the decoded posterior mean of a weight set, tensor by tensor.
func (g *Generator) Reconstruct(weights map[string][]float32) (map[string][]float32, error) {
	out, err := g.ReconstructAll([]map[string][]float32{weights})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// ReconstructAll is Reconstruct for several weight sets, which is faster than one by one.
func (g *Generator) ReconstructAll(weights []map[string][]float32) ([]map[string][]float32, error) {
	set := Set{Weights: weights, Names: make([]string, len(weights))}
	for i := range set.Names {
		set.Names[i] = fmt.Sprintf("number %d", i)
	}
	flat, err := g.encodeAll(context.Background(), newSource(set, g.m, g.center), nil)
	if err != nil {
		return nil, err
	}
	size := g.m.Tokens() * g.vae.LatentLen()
	var z [][]float32
	for i := range weights {
		z = append(z, flat[i*size:(i+1)*size])
	}
	return g.decodeAll(z, nil)
}
