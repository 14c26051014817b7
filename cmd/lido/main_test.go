package main

import (
	"bytes"
	"io"
	"testing"
)

// Every command has an example, and a misspelt one is an error wherever it stands.
func TestCommands(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		if c.HasSubCommands() {
			root := newRoot()
			root.SetArgs([]string{c.Name(), "misspelt"})
			root.SetOut(io.Discard)
			if err := root.Execute(); err == nil {
				t.Errorf("lido %s misspelt: no error", c.Name())
			}
			var out bytes.Buffer
			root.SetArgs([]string{c.Name()})
			root.SetOut(&out)
			if err := root.Execute(); err != nil || out.Len() == 0 {
				t.Errorf("lido %s: %v, %d bytes of help", c.Name(), err, out.Len())
			}
			for _, sub := range c.Commands() {
				if sub.Example == "" {
					t.Errorf("lido %s %s has no example", c.Name(), sub.Name())
				}
			}
			continue
		}
		if c.Example == "" {
			t.Errorf("lido %s has no example", c.Name())
		}
	}
}
