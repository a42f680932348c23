package vae

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// maxPrincipal bounds the rows that principal components are taken of, and the chunk length of a shared map that gets them.
const maxPrincipal = 1024

// Principal returns first values for the linear paths, so that before any training the latents are the principal components of the
// tokens: per token where the maps are per token, else of all tokens. rows gives normalized tokens, (n, chunk), of one token index, or of
// any when token is −1. It returns nil where components would cost too much.
func (m *Model) Principal(rows func(token, limit int) ([]float32, error)) (map[string][]float32, error) {
	if m.cfg.Kind != MLP || m.shape.ChunkLen > maxPrincipal {
		return nil, nil
	}
	count, first := 1, -1
	if m.Ordered() {
		count, first = m.shape.Tokens, 0
	}
	chunk, latent := m.shape.ChunkLen, m.cfg.Latent
	enc := make([]float32, count*latent*chunk) // (count, latent, chunk)
	dec := make([]float32, count*chunk*latent) // (count, chunk, latent)
	basis := make([]*mat.Dense, count)
	var power float64
	for i := range basis {
		x, err := rows(first+i, maxPrincipal)
		if err != nil {
			return nil, err
		}
		var p float64
		if basis[i], p, err = components(x, chunk, latent); err != nil {
			return nil, err
		}
		power += p
	}
	// One scale for all keeps the latents' mean square at 1 and their proportions as they are in the weights.
	scale := math.Sqrt(power / float64(count*latent))
	if scale == 0 {
		return nil, nil
	}
	for i, v := range basis {
		for j := range chunk {
			for k := range latent {
				enc[(i*latent+k)*chunk+j] = float32(v.At(j, k) / scale)
				dec[(i*chunk+j)*latent+k] = float32(v.At(j, k) * scale)
			}
		}
	}
	return map[string][]float32{"enc.linear.w": enc, "dec.linear.w": dec}, nil
}

// components returns the first principal directions of x (n, chunk) about 0 as columns (chunk, latent), zeros where x has fewer, and the
// mean square of x along them. It works on the smaller of the two Gram matrices.
func components(x []float32, chunk, latent int) (*mat.Dense, float64, error) {
	n := len(x) / chunk
	data := mat.NewDense(n, chunk, nil)
	for i, v := range x {
		data.Set(i/chunk, i%chunk, float64(v))
	}
	side := min(n, chunk)
	gram := mat.NewSymDense(side, nil)
	if n < chunk {
		gram.SymOuterK(1/float64(n), data)
	} else {
		gram.SymOuterK(1/float64(n), data.T())
	}
	var eig mat.EigenSym
	if !eig.Factorize(gram, true) {
		return nil, 0, fmt.Errorf("vae: the principal components of %d tokens did not converge", n)
	}
	values := eig.Values(nil) // ascending
	var vectors mat.Dense
	eig.VectorsTo(&vectors)
	out := mat.NewDense(chunk, latent, nil)
	var power float64
	for k := range min(latent, side) {
		value := values[side-1-k]
		if value <= 1e-9*values[side-1] {
			break
		}
		power += value
		column := mat.Col(nil, side-1-k, &vectors)
		if n < chunk { // from the left singular vector to the right one
			var right mat.VecDense
			right.MulVec(data.T(), mat.NewVecDense(n, column))
			right.ScaleVec(1/mat.Norm(&right, 2), &right)
			column = right.RawVector().Data
		}
		out.SetCol(k, column)
	}
	return out, power, nil
}
