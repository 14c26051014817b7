package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/image"
	"lido.dev/lido/internal/network"
	"lido.dev/lido/internal/pki"
	"lido.dev/lido/internal/storage"
	"lido.dev/lido/internal/store"
)

// networkForCompute is the network room as the compute room asks for it.
type networkForCompute struct{ *network.Room }

func plainConfigs(configs []compute.InterfaceConfig) []network.InterfaceConfig {
	out := make([]network.InterfaceConfig, len(configs))
	for i, c := range configs {
		out[i] = network.InterfaceConfig(c)
	}
	return out
}

func (n networkForCompute) Check(tx *store.Tx, configs []compute.InterfaceConfig, at string) error {
	return n.Room.Check(tx, plainConfigs(configs), at)
}

func (n networkForCompute) Attach(tx *store.Tx, owner compute.Owner, configs []compute.InterfaceConfig) error {
	return n.Room.Attach(tx, network.Owner(owner), plainConfigs(configs))
}

func (n networkForCompute) PoolAddresses(tx *store.Tx, configs []compute.InterfaceConfig) ([]netip.Addr, error) {
	return n.Room.PoolAddresses(tx, plainConfigs(configs))
}

// imagesForCompute is the image catalogue and store as the compute room asks for them.
type imagesForCompute struct {
	*image.Catalogue
	store *image.Store
}

func (i imagesForCompute) resolve(ref compute.ImageRef) (image.Resolution, compute.ImageInfo, error) {
	res, err := i.Catalogue.Resolve(image.Reference{Publisher: ref.Publisher, Offer: ref.Offer, SKU: ref.SKU, Version: ref.Version, ID: ref.ID})
	return res, compute.ImageInfo{Name: res.Recipe.Name, Version: res.Reference.Version, Substitution: res.Substitution}, err
}

func (i imagesForCompute) Resolve(ref compute.ImageRef) (compute.ImageInfo, error) {
	_, info, err := i.resolve(ref)
	return info, err
}

func (i imagesForCompute) Ensure(ctx context.Context, ref compute.ImageRef, progress func(string)) (string, compute.ImageInfo, error) {
	res, info, err := i.resolve(ref)
	if err != nil {
		return "", info, err
	}
	root, err := i.store.Ensure(ctx, res.Recipe, func(e image.Event) { progress(e.String()) })
	info.Hash, info.Distribution = root.Hash, root.Distribution
	return root.Dir, info, err
}

// sharesForCompute is the storage room as the compute room asks for it.
type sharesForCompute struct{ *storage.Room }

func (s sharesForCompute) Authorize(ctx context.Context, account, key, share string) (string, error) {
	dir, err := s.Room.Authorize(ctx, account, key, share)
	return dir, mountRefusal(err)
}

// mountRefusal is a refusal of storage in the words of compute.
func mountRefusal(err error) error {
	switch {
	case errors.Is(err, storage.ErrWrongKey), errors.Is(err, storage.ErrNoAccount):
		return fmt.Errorf("%w: %w", compute.ErrWrongKey, err)
	case errors.Is(err, storage.ErrNoShare):
		return fmt.Errorf("%w: %w", compute.ErrNoShare, err)
	}
	return err
}

// EnsureUserDir makes a user's directory on a share.
func (sharesForCompute) EnsureUserDir(dir, user string, uid, gid int) error {
	_, err := storage.EnsureUserDir(dir, user, uid, gid)
	return err
}

// keysForCompute makes what machines prove themselves with.
type keysForCompute struct {
	ca   *pki.Authority
	seed []byte // of SSH host keys
}

func (k keysForCompute) HostKey(address string) (private, public []byte, err error) {
	key, err := pki.NewHostKey(k.seed, address)
	return key.PrivatePEM, []byte(key.Public + "\n"), err
}

func (k keysForCompute) ServerCert(names ...string) (cert, key []byte, err error) {
	leaf, err := k.ca.Issue(pki.MachineLifetime, names...)
	return leaf.CertPEM, leaf.KeyPEM, err
}
