// Package condition turns what is known about a wanted weight set into the vector that the generator is conditioned on.
package condition

// Text turns a description in words into a vector. The same text always gives the same vector. Standardizing the vectors over a set of
// descriptions is the generator's business.
type Text interface {
	Embed(text string) ([]float32, error)
}
