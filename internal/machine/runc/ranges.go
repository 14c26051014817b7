package runc

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// rangeSize is how many uids and gids a machine has.
const rangeSize = 65536

// The uids from 1,879,048,192 up to the largest signed number are given out by no distribution, neither for people nor
// for systemd-nspawn, nor by /etc/subuid's defaults.
const (
	UIDBase  = 0x70000000 // first host uid that machines are given, unless Config says otherwise
	uidCount = 0x0fff0000
)

// A claim is a symbolic link RANGES/BASE that points at the owning machine's directory: made and read in one step, and
// gone with the host's uptime, as the processes are.

func (e *Engine) claimPath(base uint32) string {
	return filepath.Join(e.rangesDir(), strconv.FormatUint(uint64(base), 10))
}

// claim takes the range at base for the machine, and tells whether it has it now.
func (e *Engine) claim(id string, base uint32) (bool, error) {
	if base < e.cfg.UIDBase || base-e.cfg.UIDBase > e.cfg.UIDCount-rangeSize {
		return false, nil
	}
	err := os.Symlink(e.dir(id), e.claimPath(base))
	if err == nil {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) { // the last engine of the host has left meanwhile
		if err := os.MkdirAll(e.rangesDir(), 0o755); err != nil {
			return false, err
		}
		return e.claim(id, base)
	}
	if !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	owner, err := os.Readlink(e.claimPath(base))
	return err == nil && owner == e.dir(id), nil
}

// claimAny takes a free range for the machine, the one at want if that can be. It waits for an engine that is leaving the
// host, which would take away what a machine needs.
func (e *Engine) claimAny(id string, want uint32) (uint32, error) {
	unlock, err := e.lockShared()
	if err != nil {
		return 0, fmt.Errorf("claim a uid range: %w", err)
	}
	defer unlock()
	n := e.cfg.UIDCount / rangeSize
	h := fnv.New32a()
	h.Write([]byte(e.cfg.Tag))
	first := h.Sum32()
	for i := range n {
		base := e.cfg.UIDBase + (first+i-1)%n*rangeSize
		if i == 0 && want != 0 {
			base = want
		}
		ok, err := e.claim(id, base)
		if err != nil {
			return 0, fmt.Errorf("claim a uid range: %w", err)
		}
		if ok {
			return base, nil
		}
	}
	return 0, fmt.Errorf("all %d uid ranges of this host are taken; delete machines, or free the claims of lost ones in %s", n, e.rangesDir())
}

// release gives the machine's range back.
func (e *Engine) release(id string, base uint32) error {
	if owner, err := os.Readlink(e.claimPath(base)); err != nil || owner != e.dir(id) {
		return nil
	}
	return os.Remove(e.claimPath(base))
}

// releaseStrays gives back the claims of machines of this engine that have no record.
func (e *Engine) releaseStrays() error {
	claims, err := os.ReadDir(e.rangesDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, c := range claims {
		path := filepath.Join(e.rangesDir(), c.Name())
		owner, err := os.Readlink(path)
		if err != nil || filepath.Dir(owner) != filepath.Clean(e.cfg.Dir) {
			continue
		}
		b := e.machines[filepath.Base(owner)]
		if b == nil || strconv.FormatUint(uint64(b.rec.Base), 10) != c.Name() {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return err
}
