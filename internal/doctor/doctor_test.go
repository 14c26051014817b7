package doctor

import (
	"context"
	"errors"
	"testing"
)

func TestRunSortsOutWhatIsMissing(t *testing.T) {
	found := func(context.Context, Host) (string, error) { return "here", nil }
	not := func(context.Context, Host) (string, error) { return "", errors.New("not here") }
	findings := Run(t.Context(), Host{}, []Check{
		{Name: "a", Required: true, Try: found, Get: "buy"}, {Name: "b", Try: not, Get: "buy"},
	})
	if !Healthy(findings) || findings[0].Status != Found || findings[0].Get != "" || findings[1].Status != Warning || findings[1].Get != "buy" {
		t.Errorf("%+v", findings)
	}
	if findings = Run(t.Context(), Host{}, []Check{{Name: "c", Required: true, Try: not}}); Healthy(findings) || findings[0].Found != "not here" {
		t.Errorf("%+v", findings)
	}
}

func TestEveryCheckSaysWhyAndHow(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if c.Why == "" || c.Get == "" || c.Try == nil {
			t.Errorf("%s lacks something", c.Name)
		}
		if seen[c.Name] {
			t.Errorf("two checks are called %s", c.Name)
		}
		seen[c.Name] = true
	}
}

func TestMissingProgramIsMissing(t *testing.T) {
	if got, err := tryProgram(t.Context(), "no-such-program", nil); err == nil {
		t.Errorf("found %s", got)
	}
	if _, err := tryProgram(t.Context(), "false", nil); err == nil {
		t.Error("a program that fails counts as found")
	}
	if _, err := enough(3*gib, 4*gib, "x"); err == nil {
		t.Error("3 are enough for 4")
	}
}
