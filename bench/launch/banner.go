package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// awaitBanners waits until SSH answers at every address.
func awaitBanners(ctx context.Context, addresses []string) error {
	var g errgroup.Group
	for _, a := range addresses {
		g.Go(func() error { return awaitBanner(ctx, a) })
	}
	return g.Wait()
}

func awaitBanner(ctx context.Context, address string) error {
	for {
		err := banner(ctx, address)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", address, err)
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// banner tries once. A first packet that is lost is not waited for: the next try comes sooner than its repetition.
func banner(ctx context.Context, address string) error {
	d := net.Dialer{Timeout: 40 * time.Millisecond}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err == nil && !strings.HasPrefix(string(buf[:n]), "SSH-") {
		err = fmt.Errorf("a banner %q", buf[:n])
	}
	return err
}
