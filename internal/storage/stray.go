package storage

import (
	"context"
	"os"
	"path/filepath"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// reportStray logs directories that belong to no share, as after the database was put back from a copy. They are left
// alone, and a share of that name takes its directory over with what is in it.
func (r *Room) reportStray(ctx context.Context) {
	known := map[string]bool{filepath.Join(r.root, trashDir): true}
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: typeShares})
		for _, d := range docs {
			known[r.Dir(shareNames(arm.ParsePath(d.ID)))] = true
		}
		all, err2 := listTrash(tx)
		for _, t := range all {
			known[r.Dir(t.Account, t.Share)] = true
		}
		if err == nil {
			err = err2
		}
		return err
	})
	if err != nil {
		r.log.Error("storage", "err", err)
		return
	}
	accounts, _ := os.ReadDir(r.root) // no directory: nothing is stray
	for _, a := range accounts {
		shares, _ := os.ReadDir(filepath.Join(r.root, a.Name()))
		for _, s := range shares {
			dir := filepath.Join(r.root, a.Name(), s.Name())
			if s.IsDir() && s.Name() != containersDir && !known[dir] && !known[filepath.Dir(dir)] {
				r.log.Warn("directory belongs to no share; it is left alone", "dir", dir)
			}
		}
	}
}
