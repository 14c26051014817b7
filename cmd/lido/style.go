package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// style colours words if they go to a terminal. Every coloured word has the same number of invisible bytes, so that
// columns of coloured words stay in line.
type style bool

func styleOf(w io.Writer) style {
	f, ok := w.(*os.File)
	return style(ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())))
}

func (s style) paint(colour int, word string) string {
	if !s {
		return word
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, word)
}

const (
	red    = 31
	green  = 32
	yellow = 33
	blue   = 34
	plain  = 39
)

// state paints the state of a job or a cluster, or a column's head.
func (s style) state(word string) string {
	switch strings.ToLower(word) {
	case "succeeded", "steady":
		return s.paint(green, word)
	case "failed":
		return s.paint(red, word)
	case "running":
		return s.paint(blue, word)
	case "queued", "terminating", "resizing":
		return s.paint(yellow, word)
	}
	return s.paint(plain, word)
}

// progress is one line on a terminal that says what is going on; it leaves nothing behind.
type progress struct {
	w    io.Writer
	live style
	last string
}

func newProgress(w io.Writer) *progress { return &progress{w: w, live: styleOf(w)} }

// say shows a line. In a pipe it is written when it changes.
func (p *progress) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if line == p.last {
		return
	}
	if p.live {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(p.w, line)
	}
	p.last = line
}

// clear takes the line away, so that others can be written.
func (p *progress) clear() {
	if bool(p.live) && p.last != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.last = ""
	}
}
