package train

import "github.com/gomlx/gomlx/core/graph"

// adapt is scale·(x·Aᵀ)·Bᵀ with the factors of each group: x (M, in) → (M, out). Multiplying the narrow (x·Aᵀ) by the scale gives the
// gradients of both factors their part of it.
func (n *net) adapt(name string, l lowRank, x *node) (*node, back) {
	out, r := l.b.Shape().Dimensions[1], l.b.Shape().Dimensions[2]
	each := n.positions() / n.groups
	down, downBack := n.down(name, l, x)
	z := l.scaled(down)                                                   // (groups, each, r)
	y := graph.DotGeneral(z, []int{2}, []int{0}, l.b, []int{2}, []int{0}) // (groups, each, out)
	return graph.Reshape(y, n.positions(), out), func(dy *node) *node {
		d := graph.Reshape(dy, n.groups, each, out)
		n.gradient(n.factorB(name), transposedProduct(d, z))                   // (groups, out, r)
		dz := graph.DotGeneral(d, []int{2}, []int{0}, l.b, []int{1}, []int{0}) // (groups, each, r)
		return downBack(graph.Reshape(l.scaled(dz), n.positions(), r))
	}
}

// down is x·Aᵀ, cut into groups: x (M, in) → (groups, each, r), and back from (M, r). A factor of each group's own is trained.
func (n *net) down(name string, l lowRank, x *node) (*node, back) {
	each, r := n.positions()/n.groups, l.b.Shape().Dimensions[2]
	if l.a.Rank() == 2 { // shared by all groups: one product
		return graph.Reshape(product(x, 1, l.a, 1), n.groups, each, r), func(dz *node) *node { return product(dz, 1, l.a, 0) }
	}
	in := x.Shape().Dimensions[1]
	grouped := graph.Reshape(x, n.groups, each, in)
	return graph.DotGeneral(grouped, []int{2}, []int{0}, l.a, []int{2}, []int{0}), func(dz *node) *node {
		d := graph.Reshape(dz, n.groups, each, r)
		n.gradient(factorA(name), smallProduct(grouped, d))                    // (groups, r, in)
		dx := graph.DotGeneral(d, []int{2}, []int{0}, l.a, []int{1}, []int{0}) // (groups, each, in)
		return graph.Reshape(dx, n.positions(), in)
	}
}

func (l lowRank) scaled(x *node) *node {
	if l.scale == 0 || l.scale == 1 {
		return x
	}
	return graph.MulScalar(x, l.scale)
}
