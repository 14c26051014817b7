package template

import "slices"

// graph has an edge from each resource to those it depends on, by their index.
type graph struct {
	to  [][]int
	has []indexSet // the same edges
}

func newGraph(n int) *graph {
	g := &graph{make([][]int, n), make([]indexSet, n)}
	for i := range g.has {
		g.has[i] = newIndexSet(n)
	}
	return g
}

// edge adds an edge unless it is there.
func (g *graph) edge(from, to int) {
	if !g.has[from].get(to) {
		g.has[from].set(to)
		g.to[from] = append(g.to[from], to)
	}
}

// add makes r depend on others. A resource that is skipped neither waits nor is waited for.
func (g *graph) add(r *Resource, on ...*Resource) {
	for _, o := range on {
		if !o.Skipped && !r.Skipped {
			g.edge(r.index, o.index)
		}
	}
}

// indexSet is a set of small numbers.
type indexSet []uint64

func newIndexSet(n int) indexSet { return make(indexSet, (n+63)/64) }

func (b indexSet) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b indexSet) get(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// join adds what is in other.
func (b indexSet) join(other indexSet) {
	for i := range b {
		b[i] |= other[i]
	}
}

// cycle returns the nodes of a cycle in the order of the edges, or nil.
func (g *graph) cycle() []int {
	const fresh, open, closed = 0, 1, 2
	state := make([]uint8, len(g.to))
	var path []int
	var visit func(i int) []int
	visit = func(i int) []int {
		state[i] = open
		path = append(path, i)
		for _, j := range g.to[i] {
			if state[j] == open {
				return slices.Clone(path[slices.Index(path, j):])
			}
			if state[j] == fresh {
				if c := visit(j); c != nil {
					return c
				}
			}
		}
		path = path[:len(path)-1]
		state[i] = closed
		return nil
	}
	for i := range g.to {
		if state[i] == fresh {
			if c := visit(i); c != nil {
				return c
			}
		}
	}
	return nil
}

// reach is, for each node, the nodes that there is a way to. The graph must have no cycle.
func (g *graph) reach() []indexSet {
	out := make([]indexSet, len(g.to))
	var visit func(i int)
	visit = func(i int) {
		out[i] = newIndexSet(len(g.to))
		for _, j := range g.to[i] {
			if out[j] == nil {
				visit(j)
			}
			out[i].set(j)
			out[i].join(out[j])
		}
	}
	for i := range g.to {
		if out[i] == nil {
			visit(i)
		}
	}
	return out
}

// merge adds the edges of soft that close no cycle. The graph must have none.
func (g *graph) merge(soft *graph) {
	reach := g.reach()
	for i := range g.to {
		for _, j := range soft.to[i] {
			if i == j || reach[j].get(i) {
				continue
			}
			g.edge(i, j)
			if reach[i].get(j) {
				continue
			}
			for k := range reach {
				if k == i || reach[k].get(i) {
					reach[k].set(j)
					reach[k].join(reach[j])
				}
			}
		}
	}
}
