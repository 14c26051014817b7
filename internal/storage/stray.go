package storage

import (
	"context"
	"os"
	"path/filepath"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// reportStray logs directories that belong to no share or container, as after the database was put back from a copy. They
// are left alone, and a share or container of that name takes its directory over with what is in it.
func (r *Room) reportStray(ctx context.Context) {
	known := map[string]bool{filepath.Join(r.root, trashDir): true}
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		docs, err := listPlaces(tx)
		for _, d := range docs {
			known[r.Dir(place(arm.ParsePath(d.ID)))] = true
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
		r.reportBelow(filepath.Join(r.root, a.Name()), known)
	}
}

func (r *Room) reportBelow(dir string, known map[string]bool) {
	if known[dir] {
		return
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		switch path := filepath.Join(dir, e.Name()); {
		case !e.IsDir() || known[path]:
		case e.Name() == containersDir:
			r.reportBelow(path, known)
		default:
			r.log.Warn("directory belongs to no share or container; it is left alone", "dir", path)
		}
	}
}
