package main

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/image"
	"lido.dev/lido/internal/oci"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

// openBatch opens the room of clusters and jobs.
func (m *rooms) openBatch(ctx context.Context, _ upOptions) error {
	key, err := keptKey(ctx, m.store, m.box, "batch file links")
	if err != nil {
		return err
	}
	sizes := m.sizes()
	images, err := oci.Open(m.paths.in("oci"), m.engine)
	if err != nil {
		return err
	}
	m.batch = batch.New(batch.Config{
		Containers: images,
		IdleAfter:  time.Duration(m.config.BatchIdle),
		SetupLimit: time.Duration(m.config.BatchSetupLimit),
		Fleet:      newFleet(m), Agents: m.hub, Drives: m.drives, Ledger: m.usage,
		Server: m.arm, Store: m.store, Log: m.log, FilesKey: key, FilesURL: func() string { return m.url },
		Image: func(publisher, offer, sku, version, id string) error {
			_, err := m.catalogue.Resolve(image.Reference{Publisher: publisher, Offer: offer, SKU: sku, Version: version, ID: id})
			return err
		},
		Size: func(name string) (batch.Size, bool) {
			s, ok := sizes.Lookup(name)
			return batch.Size{Name: s.Name, Family: s.Family, CPUs: s.CPUs, GPUs: s.GPUs}, ok
		},
	})
	m.hub.Listen(m.batch.Hear)
	m.arm.Register(m.batch.Types()...)
	m.loops = append(m.loops, m.batch.Run)
	return nil
}

// sizes are Azure's common sizes and those of the configuration.
func (m *rooms) sizes() *compute.Sizes {
	var sizes []compute.Size
	for _, s := range m.config.Sizes {
		sizes = append(sizes, compute.Size{Name: s.Name, CPUs: s.VCPUs, MemoryMB: int(s.MemoryGiB * 1024), Family: "lido"})
	}
	return compute.NewSizes(sizes...)
}

// keptKey is a key for a purpose; made when it is first needed, sealed at rest.
func keptKey(ctx context.Context, st *store.Store, box *secret.Box, purpose string) (key []byte, err error) {
	err = st.Update(ctx, func(tx *store.Tx) error {
		sealed, err := tx.GetKV("lido", purpose)
		if errors.Is(err, store.ErrNotFound) {
			key = make([]byte, 32)
			rand.Read(key)
			return tx.SetKV("lido", purpose, box.SealBytes(key, purpose))
		}
		if err != nil {
			return err
		}
		key, err = box.OpenBytes(sealed, purpose)
		return err
	})
	return key, err
}
