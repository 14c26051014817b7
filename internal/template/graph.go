package template

import "slices"

// graph has an edge from each resource to those it depends on, by their index.
type graph struct{ to [][]int }

func newGraph(n int) *graph { return &graph{make([][]int, n)} }

// add makes r depend on others. A resource that is skipped neither waits nor is waited for.
func (g *graph) add(r *Resource, on ...*Resource) {
	for _, o := range on {
		if o.Skipped || r.Skipped || slices.Contains(g.to[r.index], o.index) {
			continue
		}
		g.to[r.index] = append(g.to[r.index], o.index)
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

// reaches says that there is a way from one node to another.
func (g *graph) reaches(from, to int, seen []bool) bool {
	if from == to {
		return true
	}
	seen[from] = true
	for _, j := range g.to[from] {
		if !seen[j] && g.reaches(j, to, seen) {
			return true
		}
	}
	return false
}

// merge adds the edges of soft that close no cycle. The graph must have none.
func (g *graph) merge(soft *graph) {
	all := newGraph(len(g.to))
	for i := range g.to {
		all.to[i] = slices.Clone(g.to[i])
		for _, j := range soft.to[i] {
			if !slices.Contains(all.to[i], j) {
				all.to[i] = append(all.to[i], j)
			}
		}
	}
	if all.cycle() == nil {
		g.to = all.to
		return
	}
	for i := range g.to {
		for _, j := range soft.to[i] {
			if !slices.Contains(g.to[i], j) && !g.reaches(j, i, make([]bool, len(g.to))) {
				g.to[i] = append(g.to[i], j)
			}
		}
	}
}
