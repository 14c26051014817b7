package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

const crashFile = "LIDO_STORE_CRASH_FILE" // set in the subprocess that is killed

// TestMain turns the test binary into the writer that TestKilledWriterLosesNothing kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

// writeForever writes n as a document and twice as a value, and prints n when the transaction has returned.
func writeForever(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var from int
	s.View(context.Background(), func(tx *Tx) error { return tx.GetJSON("n", "a", &from) })
	for n := from + 1; ; n++ {
		err := s.Update(context.Background(), func(tx *Tx) error {
			if err := tx.SetJSON("n", "a", n); err != nil {
				return err
			}
			if err := tx.Put(&Doc{ID: fmt.Sprintf("/s/%06d", n), Type: "t", Desired: make([]byte, 3000)}, time.Now()); err != nil {
				return err
			}
			return tx.SetJSON("n", "b", n)
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

// A transaction that returned is there after kill -9, and none is there by half.
func TestKilledWriterLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lido.db")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		told := runAndKill(t, exe, path, 30+37*round)
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = s.View(t.Context(), func(tx *Tx) error {
			var a, b int
			tx.GetJSON("n", "a", &a)
			tx.GetJSON("n", "b", &b)
			docs, err := tx.List(Query{Type: "t"})
			if a < told || a > told+1 || a != b || len(docs) != a {
				t.Errorf("round %d: told of %d, found %d and %d, %d documents", round, told, a, b, len(docs))
			}
			return err
		})
		var fine string
		s.write.QueryRow("PRAGMA integrity_check").Scan(&fine)
		if s.Close(); err != nil || fine != "ok" {
			t.Fatalf("round %d: %v, integrity %q", round, err, fine)
		}
	}
}

// runAndKill lets the writer do some transactions, kills it in the middle of its work and returns the last it told of.
func runAndKill(t *testing.T, exe, path string, transactions int) int {
	t.Helper()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), crashFile+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := 0
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("writer: %s", lines.Text())
		}
		told = n
		if i == transactions {
			cmd.Process.Kill() // what it prints until then is still read
		}
	}
	cmd.Wait()
	return told
}
