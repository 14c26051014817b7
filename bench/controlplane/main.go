// Command controlplane measures lido's API on simulated machines: how long single GETs take beside few and beside many
// resources, and how scale sets of growing size come up, are listed, and what memory lido needs for them. See
// bench/README.md.
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

	"lido.dev/lido/bench/rig"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured")
	flag.StringVar(&o.resources, "resources", "100,10000", "how many resources there are when GETs are measured; empty leaves them out")
	flag.IntVar(&o.gets, "gets", 10000, "how many GETs one round has")
	flag.StringVar(&o.machines, "machines", "10,100,1000", "sizes of the scale sets; empty leaves them out")
	flag.StringVar(&o.bin, "lido", "bin/lido", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds, gets        int
	resources, machines string
	bin                 string
}

func run(ctx context.Context, o options) error {
	counts, err := numbers(o.resources)
	if err != nil {
		return err
	}
	sizes, err := numbers(o.machines)
	if err != nil {
		return err
	}
	if err := measureGets(ctx, counts, nil, o); err != nil {
		return err
	}
	if len(sizes) == 0 {
		return nil
	}
	return withLido(ctx, o, func(l *rig.Lido) error { return measureSets(ctx, l, sizes, o.rounds) })
}

func numbers(list string) (all []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a list of numbers", list)
		}
		all = append(all, n)
	}
	return all, nil
}

func withLido(ctx context.Context, o options, fn func(*rig.Lido) error) error {
	l, err := rig.Start(ctx, rig.Options{Bin: o.bin, Engine: "sim"})
	if err != nil {
		return err
	}
	return errors.Join(fn(l), l.Close())
}
