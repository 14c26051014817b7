package client

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Choice says where a file of a job's output is to be written; nil for one that is not wanted.
type Choice func(name string) io.Writer

// tail is a file of a job as far as it was read.
type tail struct {
	name string
	to   io.Writer
	url  string
	read int64
}

// reader reads a job's output files as they appear and grow.
type reader struct {
	*Client
	job    string
	choose Choice
	tails  map[string]*tail
}

// Follow copies a job's output files as they grow, until the job has ended and all was read, and returns the ended job.
// notice is told of each look at the job; it may be nil.
func (c *Client) Follow(ctx context.Context, id string, choose Choice, notice func(*Job)) (*Job, error) {
	r := &reader{c, id, choose, map[string]*tail{}}
	for {
		// The state is read before the files: what an ended job wrote is all there.
		j, err := c.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		if notice != nil {
			notice(j)
		}
		if j.Properties.State == "queued" {
			if j, err = c.AwaitJob(ctx, id, j); err != nil {
				return nil, err
			}
			continue
		}
		grew, err := r.advance(ctx)
		if err != nil || j.Ended() {
			return j, err
		}
		pause := 300 * time.Millisecond
		if grew {
			pause = 100 * time.Millisecond
		}
		if err := rest(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// Print copies a job's output files as they are now. It says which of them there were.
func (c *Client) Print(ctx context.Context, id string, choose Choice) (found []string, err error) {
	r := &reader{c, id, choose, map[string]*tail{}}
	_, err = r.advance(ctx)
	return slices.Sorted(maps.Keys(r.tails)), err
}

// advance reads what is new in the files.
func (r *reader) advance(ctx context.Context) (grew bool, err error) {
	if err := r.locate(ctx); err != nil {
		return false, err
	}
	for _, name := range slices.Sorted(maps.Keys(r.tails)) {
		n, err := r.readOn(ctx, r.tails[name])
		grew = grew || n > 0
		if err != nil {
			return grew, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return grew, nil
}

// locate finds files that are new, and links that are fresh.
func (r *reader) locate(ctx context.Context) error {
	listed, err := r.Files(ctx, r.job, "stdouterr", ".")
	if err != nil {
		return err
	}
	for _, f := range listed {
		t := r.tails[f.Name]
		if t == nil && f.Type != "directory" {
			if w := r.choose(f.Name); w != nil {
				t = &tail{name: f.Name, to: w}
				r.tails[f.Name] = t
			}
		}
		if t != nil {
			t.url = f.URL
		}
	}
	return nil
}

// readOn copies what a file has grown by. The link carries its own signature; it goes to the API's server.
func (r *reader) readOn(ctx context.Context, t *tail) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.read))
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable: // nothing new
		return 0, nil
	case http.StatusNotFound: // removed meanwhile
		return 0, nil
	case http.StatusPartialContent:
	case http.StatusOK:
		if _, err := io.CopyN(io.Discard, resp.Body, t.read); err != nil {
			return 0, err
		}
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return 0, &Error{Status: resp.StatusCode, Message: strings.TrimSpace(string(text))}
	}
	n, err := io.Copy(t.to, resp.Body)
	t.read += n
	return n, err
}
