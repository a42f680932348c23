package engine

import (
	"slices"
)

// group is a set of requests that begin with the same tokens: those are computed once for all.
type group struct {
	prefix  int   // shared tokens
	members []int // indexes of requests
	rows    int   // tokens to compute, the prefix once
}

const (
	groupMembers = 256  // most requests of a group
	groupRows    = 1024 // most tokens of a group of several requests
)

// input returns the tokens of a request that the model has to see: all but the last, which is only predicted.
func (r Request) input() []int { return r.IDs[:len(r.IDs)-1] }

// plan sorts requests into groups so that as few tokens as possible are computed: in lexicographic order requests that
// share a prefix are neighbours, and the cheapest cuts follow from dynamic programming.
func plan(reqs []Request) []group {
	order := make([]int, len(reqs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(reqs[a].input(), reqs[b].input()) })
	common := make([]int, len(order)) // tokens that order[i] shares with order[i−1]
	for i := 1; i < len(order); i++ {
		common[i] = commonPrefix(reqs[order[i-1]].input(), reqs[order[i]].input())
	}
	// cost[j] is the fewest tokens for the first j requests; the last of their groups begins at from[j].
	cost, from := make([]int, len(order)+1), make([]int, len(order)+1)
	prefix := make([]int, len(order)+1)
	for j := 1; j <= len(order); j++ {
		n := len(reqs[order[j-1]].input())
		shared, total := n, 0
		for i := j - 1; i >= 0 && j-i <= groupMembers; i-- {
			total += len(reqs[order[i]].input())
			if i < j-1 {
				shared = min(shared, common[i+1])
			}
			rows := total - (j-i-1)*shared
			if i < j-1 && (rows > groupRows || shared == 0) {
				break
			}
			if i == j-1 || cost[i]+rows < cost[j] {
				cost[j], from[j], prefix[j] = cost[i]+rows, i, shared
			}
		}
	}
	var groups []group
	for j := len(order); j > 0; j = from[j] {
		i := from[j]
		groups = append(groups, group{prefix: prefix[j], members: order[i:j], rows: cost[j] - cost[i]})
	}
	slices.Reverse(groups)
	return groups
}

func commonPrefix(a, b []int) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// split cuts groups, in order, into runs of about the wanted number of rows.
func split(groups []group, wanted int) [][]group {
	var runs [][]group
	first, rows := 0, 0
	for i, g := range groups {
		rows += g.rows
		if rows >= wanted || i == len(groups)-1 {
			runs = append(runs, groups[first:i+1])
			first, rows = i+1, 0
		}
	}
	return runs
}
