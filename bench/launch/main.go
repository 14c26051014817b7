// Command launch measures how long it takes from a wish for machines to the SSH banners of all of them: with lido, from
// the request for a scale set to banners through the pool's address, and with `lxc launch` of LXD on a btrfs pool, from
// the command to banners at the machines' addresses. Both start the same root file system. See bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lido.dev/lido/bench/figure"
	"lido.dev/lido/bench/rig"
	"lido.dev/lido/internal/image"
)

// peer is one way to get machines.
type peer interface {
	// launch asks for n machines and returns where their banners will be.
	launch(ctx context.Context, n int) (addresses []string, err error)
	// remove removes the machines of the last launch.
	remove(ctx context.Context) error
	close() error
}

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	counts := flag.String("machines", "1,8", "how many machines at once")
	peers := flag.String("peers", "lxd,lido", "who is measured")
	cache := flag.String("images", "", "directory of lido's built images (default: the tests' cache)")
	bin := flag.String("lido", "bin/lido", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *counts, *peers, *cache, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "launch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, counts, names, cache, bin string) (err error) {
	base, err := rig.Image(ctx, cache, "base")
	if err != nil {
		return err
	}
	var peers []peer
	defer func() {
		for _, p := range peers {
			err = errors.Join(err, p.close())
		}
	}()
	labels := strings.Split(names, ",")
	for _, name := range labels {
		p, err := newPeer(ctx, name, base, bin)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		peers = append(peers, p)
		if _, err := measure(ctx, p, 1); err != nil { // fill caches
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	t := figure.New("s")
	for range rounds {
		for _, count := range strings.Split(counts, ",") {
			n, err := strconv.Atoi(count)
			if err != nil {
				return err
			}
			for i, p := range peers {
				took, err := measure(ctx, p, n)
				if err != nil {
					return fmt.Errorf("%s: %w", labels[i], err)
				}
				t.Add(count+" at once", labels[i], took.Seconds())
			}
		}
	}
	t.Print(os.Stdout, "From wish to SSH banners")
	return nil
}

func newPeer(ctx context.Context, name string, base image.Rootfs, bin string) (peer, error) {
	switch name {
	case "lxd":
		return startLXD(ctx, base.Dir)
	case "lido":
		return startLido(ctx, base, bin)
	}
	return nil, errors.New("no such peer")
}

// measure launches machines, waits for all banners, and removes them.
func measure(ctx context.Context, p peer, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	start := time.Now()
	addresses, err := p.launch(ctx, n)
	if err == nil {
		err = awaitBanners(ctx, addresses)
	}
	took := time.Since(start)
	return took, errors.Join(err, p.remove(ctx))
}

// lidoPeer gets machines by scale sets.
type lidoPeer struct {
	*rig.Lido
	address string
	set     string
	count   int
}

func startLido(ctx context.Context, base image.Rootfs, bin string) (peer, error) {
	l, err := rig.Start(ctx, rig.Options{Bin: bin, Image: &base})
	if err != nil {
		return nil, err
	}
	p := &lidoPeer{Lido: l}
	if p.address, err = l.MakeNetwork(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return p, nil
}

func (p *lidoPeer) launch(ctx context.Context, n int) ([]string, error) {
	p.count++
	p.set = p.ID(fmt.Sprintf("Microsoft.Compute/virtualMachineScaleSets/bench%d", p.count))
	if err := p.Do(ctx, "PUT", p.set, p.Pool(n), nil); err != nil {
		return nil, err
	}
	addresses := []string{p.address + ":22"}
	for i := range n {
		if n > 1 {
			addresses = append(addresses, fmt.Sprintf("%s:%d", p.address, rig.FirstPort+i))
		}
	}
	return addresses, nil
}

func (p *lidoPeer) remove(ctx context.Context) error { return p.Delete(ctx, p.set) }
func (p *lidoPeer) close() error                     { return p.Close() }
