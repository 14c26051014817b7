package gang

import (
	"flag"
	"os"
	"testing"
)

// TestMain has properties checked more often than by default: an example takes microseconds here.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "1000"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
