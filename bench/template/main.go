// Command template measures what templates cost: to read and expand them, on one core, and to deploy them on simulated
// machines through the API. See bench/README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lido.dev/lido/bench/figure"
	"lido.dev/lido/bench/rig"
	"lido.dev/lido/internal/template"
)

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	sizes := flag.String("sizes", "10,100,200,400,800", "how many resources the templates have, multiples of 10")
	bin := flag.String("lido", "bin/lido", "the program; empty leaves deploying out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *sizes, *rounds, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "template:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list string, rounds int, bin string) error {
	var sizes []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 10 || n%10 != 0 {
			return fmt.Errorf("%q is not a list of multiples of 10", list)
		}
		sizes = append(sizes, n)
	}
	if err := measureExpanding(sizes, rounds); err != nil {
		return err
	}
	if bin == "" {
		return nil
	}
	l, err := rig.Start(ctx, rig.Options{Bin: bin, Engine: "sim"})
	if err != nil {
		return err
	}
	return errors.Join(measureDeploying(ctx, l, sizes, rounds), l.Close())
}

// measureExpanding reads and expands templates on one core; one figure is the mean of many in a row, garbage collection
// included.
func measureExpanding(sizes []int, rounds int) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	took := figure.New("ms")
	for range rounds {
		for _, n := range sizes {
			text := []byte(office(n))
			const times = 20
			start := time.Now()
			for range times {
				if err := expand(text, n); err != nil {
					return err
				}
			}
			took.Add(fmt.Sprint(n, " resources"), "lido", float64(time.Since(start).Microseconds())/1000/times)
		}
	}
	took.Print(os.Stdout, "Template, read, validated and expanded, one core")
	return nil
}

func expand(text []byte, n int) error {
	doc, err := template.Read(text)
	if err != nil {
		return err
	}
	s := template.StringValue
	plan, err := template.Expand(doc, nil, template.Inputs{SubscriptionID: "s", ResourceGroupName: "g",
		ResourceGroup: template.ObjectOf("id", s("/subscriptions/s/resourceGroups/g"), "location", s("local"))})
	if err == nil && len(plan.Resources) != n {
		err = fmt.Errorf("%d resources, want %d", len(plan.Resources), n)
	}
	return err
}

// measureDeploying deploys templates, from the PUT of the deployment until it says that it succeeded, each to a resource
// group of its own.
func measureDeploying(ctx context.Context, l *rig.Lido, sizes []int, rounds int) error {
	first, again := figure.New("s"), figure.New("s")
	for round := range rounds {
		for _, n := range sizes {
			group := l.Group(fmt.Sprintf("office%d-%d", n, round))
			if err := l.Do(ctx, http.MethodPut, group, map[string]any{"location": "local"}, nil); err != nil {
				return err
			}
			for _, f := range []*figure.Table{first, again} {
				took, err := deploy(ctx, l, group, n)
				if err != nil {
					return err
				}
				f.Add(fmt.Sprint(n, " resources"), "lido", took.Seconds())
			}
			if err := l.Delete(ctx, group); err != nil {
				return err
			}
		}
	}
	first.Print(os.Stdout, "Deployment, from PUT to Succeeded (simulated)")
	again.Print(os.Stdout, "The same deployment again, which changes nothing")
	return nil
}

func deploy(ctx context.Context, l *rig.Lido, group string, n int) (time.Duration, error) {
	body := map[string]any{"properties": map[string]any{"mode": "Incremental", "template": json.RawMessage(office(n))}}
	start := time.Now()
	err := l.Put(ctx, group+"/providers/Microsoft.Resources/deployments/office", body)
	return time.Since(start), err
}
