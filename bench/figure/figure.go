// Package figure holds what a benchmark measured, and prints medians and ratios.
package figure

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Table collects figures by what was measured and who was measured.
type Table struct {
	unit  string
	peers []string
	rows  []string
	cells map[[2]string][]float64
}

// New returns an empty table of figures in a unit.
func New(unit string) *Table { return &Table{unit: unit, cells: map[[2]string][]float64{}} }

// Add adds one run's figure.
func (t *Table) Add(row, peer string, figure float64) {
	if !slices.Contains(t.rows, row) {
		t.rows = append(t.rows, row)
	}
	if !slices.Contains(t.peers, peer) {
		t.peers = append(t.peers, peer)
	}
	k := [2]string{row, peer}
	t.cells[k] = append(t.cells[k], figure)
}

// Median returns the median of all runs, 0 if there were none.
func (t *Table) Median(row, peer string) float64 {
	v := slices.Clone(t.cells[[2]string{row, peer}])
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Print writes a line for each row and peer: median, least, most, and the ratio of its median to that of each other
// peer of the row.
func (t *Table) Print(w io.Writer, title string) {
	fmt.Fprintf(w, "\n%s (%s; medians of interleaved runs)\n", title, t.unit)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "\t\tmedian\tmin\tmax\truns\t")
	for _, p := range t.peers {
		fmt.Fprintf(tw, "/%s\t", p)
	}
	fmt.Fprintln(tw)
	for _, row := range t.rows {
		for _, peer := range t.peers {
			t.printCell(tw, row, peer)
		}
	}
	tw.Flush()
}

func (t *Table) printCell(w io.Writer, row, peer string) {
	v := t.cells[[2]string{row, peer}]
	if len(v) == 0 {
		return
	}
	m := t.Median(row, peer)
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t", row, peer, short(m), short(slices.Min(v)), short(slices.Max(v)), len(v))
	for _, other := range t.peers {
		if o := t.Median(row, other); o != 0 && other != peer {
			fmt.Fprintf(w, "%.2f\t", m/o)
		} else {
			fmt.Fprint(w, "\t")
		}
	}
	fmt.Fprintln(w)
}

// short writes a figure with about three digits.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
