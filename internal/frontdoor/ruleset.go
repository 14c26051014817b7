package frontdoor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// ruleset is a wished-for nftables table for IPv4. sync makes the kernel's table equal to it in one transaction, touching
// only what differs: no packet ever meets a half-made table, and what is equal is not reloaded.
type ruleset struct {
	name    string
	objects []*nftables.NamedObj
	sets    []*set
	chains  []*chain
}

// set is a set or map of a ruleset with its elements.
type set struct {
	spec     nftables.Set
	elements []nftables.SetElement
}

// chain is a base chain if spec.Hooknum is set, else one that is jumped to.
type chain struct {
	spec  nftables.Chain
	rules []rule
}

// rule is a rule's expressions; its text names it for people who list the table, and marks it as unchanged.
type rule struct {
	text  string
	exprs []expr.Any
}

func (c *chain) add(text string, parts ...[]expr.Any) {
	c.rules = append(c.rules, rule{text, slices.Concat(parts...)})
}

// actual is what the kernel has of a ruleset.
type actual struct {
	table    *nftables.Table
	exists   bool
	chains   map[string]*nftables.Chain
	sets     map[string]*nftables.Set
	elements map[string][]nftables.SetElement
	marks    map[string][]string // of rules, by chain
	objects  map[string]bool
}

// nftMu serialises all syncs: the library keeps shared state for timeout objects.
var nftMu sync.Mutex

// sync makes the kernel's table match. It returns whether anything had to be changed.
func (r *ruleset) sync(c *nftables.Conn) (changed bool, err error) {
	nftMu.Lock()
	defer nftMu.Unlock()
	have, err := r.read(c)
	if err != nil {
		return false, fmt.Errorf("read nftables table %s: %w", r.name, err)
	}
	b := &batch{conn: c, want: r, have: have}
	b.build()
	if b.err != nil {
		return false, fmt.Errorf("nftables table %s: %w", r.name, b.err)
	}
	if b.ops == 0 {
		return false, nil
	}
	if err := c.Flush(); err != nil {
		return false, fmt.Errorf("change nftables table %s: %w", r.name, err)
	}
	return true, nil
}

func (r *ruleset) read(c *nftables.Conn) (*actual, error) {
	a := &actual{
		table:  &nftables.Table{Family: nftables.TableFamilyIPv4, Name: r.name},
		chains: map[string]*nftables.Chain{}, sets: map[string]*nftables.Set{},
		elements: map[string][]nftables.SetElement{}, marks: map[string][]string{}, objects: map[string]bool{},
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, err
	}
	a.exists = slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == r.name })
	if !a.exists {
		return a, nil
	}
	return a, errors.Join(a.readSets(c, r), a.readChains(c), a.readObjects(c, r))
}

func (a *actual) readSets(c *nftables.Conn, r *ruleset) error {
	sets, err := c.GetSets(a.table)
	if err != nil {
		return err
	}
	for _, s := range sets {
		if s.Anonymous {
			continue
		}
		a.sets[s.Name] = s
		if !slices.ContainsFunc(r.sets, func(w *set) bool { return w.spec.Name == s.Name }) {
			continue
		}
		if a.elements[s.Name], err = c.GetSetElements(s); err != nil {
			return err
		}
	}
	return nil
}

func (a *actual) readChains(c *nftables.Conn) error {
	chains, err := c.ListChainsOfTableFamily(a.table.Family)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		if ch.Table.Name != a.table.Name {
			continue
		}
		a.chains[ch.Name] = ch
		rules, err := c.GetRules(a.table, ch)
		if err != nil {
			return err
		}
		for _, r := range rules {
			mark, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			a.marks[ch.Name] = append(a.marks[ch.Name], mark)
		}
	}
	return nil
}

func (a *actual) readObjects(c *nftables.Conn, r *ruleset) error {
	if len(r.objects) == 0 {
		return nil
	}
	objs, err := c.GetNamedObjects(a.table)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, o := range objs {
		if n, ok := o.(*nftables.NamedObj); ok {
			a.objects[n.Name] = true
		}
	}
	return err
}

// batch collects the changes of one transaction.
type batch struct {
	conn *nftables.Conn
	want *ruleset
	have *actual
	ops  int
	err  error
}

func (b *batch) build() {
	if !b.have.exists {
		b.conn.AddTable(b.have.table)
		b.ops++
	}
	b.addObjects()
	b.addSets()
	b.addChains()
	b.removeElements()
	b.replaceRules()
	b.addElements()
	b.removeChains()
	b.removeSets()
}

func (b *batch) addObjects() {
	for _, o := range b.want.objects {
		if !b.have.objects[o.Name] {
			o.Table = b.have.table
			b.conn.AddObj(o)
			b.ops++
		}
	}
}

func (b *batch) addSets() {
	for _, s := range b.want.sets {
		s.spec.Table = b.have.table
		if b.have.sets[s.spec.Name] != nil {
			continue
		}
		b.ops++
		b.fail(b.conn.AddSet(&s.spec, nil))
	}
}

func (b *batch) addChains() {
	for _, ch := range b.want.chains {
		ch.spec.Table = b.have.table
		if b.have.chains[ch.spec.Name] == nil {
			b.conn.AddChain(&ch.spec)
			b.ops++
		}
	}
}

// replaceRules reloads each chain whose rules are not, in order, the wished-for ones.
func (b *batch) replaceRules() {
	for _, ch := range b.want.chains {
		marks := make([]string, len(ch.rules))
		for i, r := range ch.rules {
			marks[i] = r.mark()
		}
		if slices.Equal(marks, b.have.marks[ch.spec.Name]) {
			continue
		}
		b.ops++
		b.conn.FlushChain(&ch.spec)
		for i, r := range ch.rules {
			b.conn.AddRule(&nftables.Rule{Table: b.have.table, Chain: &ch.spec, Exprs: r.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, marks[i])})
		}
	}
}

// mark identifies a rule by its text and expressions; nft shows it as the rule's comment.
func (r rule) mark() string {
	h := sha256.New()
	for _, e := range r.exprs {
		fmt.Fprintf(h, "%T %+v;", e, e)
	}
	text := r.text
	if len(text) > 100 {
		text = text[:100]
	}
	return text + " #" + hex.EncodeToString(h.Sum(nil)[:6])
}

func (b *batch) removeElements() {
	for _, s := range b.want.sets {
		want := index(s.elements)
		var gone []nftables.SetElement
		for _, e := range b.have.elements[s.spec.Name] {
			if w, ok := want[elementKey(e)]; !ok || !sameValue(w, e) {
				gone = append(gone, withoutValue(e))
			}
		}
		b.edit(s, gone, b.conn.SetDeleteElements)
	}
}

func (b *batch) addElements() {
	for _, s := range b.want.sets {
		have := index(b.have.elements[s.spec.Name])
		var fresh []nftables.SetElement
		for _, e := range s.elements {
			if h, ok := have[elementKey(e)]; !ok || !sameValue(e, h) {
				fresh = append(fresh, e)
			}
		}
		b.edit(s, fresh, b.conn.SetAddElements)
	}
}

// edit sends elements in pieces: a netlink attribute holds at most 64 KiB.
func (b *batch) edit(s *set, elements []nftables.SetElement, op func(*nftables.Set, []nftables.SetElement) error) {
	for piece := range slices.Chunk(elements, 400) {
		b.ops++
		b.fail(op(&s.spec, piece))
	}
}

func (b *batch) removeChains() {
	var stale []*nftables.Chain
	for name, ch := range b.have.chains {
		if !slices.ContainsFunc(b.want.chains, func(w *chain) bool { return w.spec.Name == name }) {
			stale = append(stale, ch)
		}
	}
	for _, ch := range stale { // first empty all, since they may jump to each other
		b.conn.FlushChain(ch)
	}
	for _, ch := range stale {
		b.ops++
		b.conn.DelChain(ch)
	}
}

func (b *batch) removeSets() {
	for name, s := range b.have.sets {
		if !slices.ContainsFunc(b.want.sets, func(w *set) bool { return w.spec.Name == name }) {
			b.ops++
			b.conn.DelSet(s)
		}
	}
}

func (b *batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func index(elements []nftables.SetElement) map[string]nftables.SetElement {
	m := make(map[string]nftables.SetElement, len(elements))
	for _, e := range elements {
		m[elementKey(e)] = e
	}
	return m
}

func elementKey(e nftables.SetElement) string {
	if e.IntervalEnd {
		return string(e.Key) + "/end"
	}
	return string(e.Key)
}

// sameValue compares a wished-for map value with the kernel's. A verdict comes back as raw attributes, the last of
// which is the chain's name.
func sameValue(a, b nftables.SetElement) bool {
	if a.VerdictData == nil {
		a, b = b, a
	}
	if a.VerdictData == nil {
		return bytes.Equal(a.Val, b.Val)
	}
	return bytes.HasSuffix(bytes.TrimRight(b.Val, "\x00"), []byte("\x00"+a.VerdictData.Chain))
}

func withoutValue(e nftables.SetElement) nftables.SetElement {
	return nftables.SetElement{Key: e.Key, KeyEnd: e.KeyEnd, IntervalEnd: e.IntervalEnd}
}

// dropTable removes a whole table if it is there.
func dropTable(c *nftables.Conn, name string) error {
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list nftables tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == name {
			c.DelTable(t)
		}
	}
	return c.Flush()
}
