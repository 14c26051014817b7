package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// tail is a file of a job as far as it was read.
type tail struct {
	name string
	to   io.Writer
	url  string
	read int64
}

// Follow copies a job's output files as they grow, each to its writer, until the job has ended and all was read, and
// returns the ended job. Files that never appear are no error. notice is told of each state that the job takes; it may be nil.
func (c *Client) Follow(ctx context.Context, id string, files map[string]io.Writer, notice func(*Job)) (*Job, error) {
	tails := makeTails(files)
	for {
		// The state is read before the files: what an ended job wrote is all there.
		j, err := c.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		if notice != nil {
			notice(j)
		}
		grew, err := c.advance(ctx, id, tails)
		if err != nil || j.Ended() {
			return j, err
		}
		pause := 500 * time.Millisecond
		if grew {
			pause = 100 * time.Millisecond
		}
		if err := rest(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// Print copies a job's output files as they are now. It says which of them there were.
func (c *Client) Print(ctx context.Context, id string, files map[string]io.Writer) (found []string, err error) {
	tails := makeTails(files)
	_, err = c.advance(ctx, id, tails)
	for _, t := range tails {
		if t.url != "" {
			found = append(found, t.name)
		}
	}
	return found, err
}

func makeTails(files map[string]io.Writer) []*tail {
	var tails []*tail
	for name, w := range files {
		tails = append(tails, &tail{name: name, to: w})
	}
	return tails
}

// advance reads what is new in the files.
func (c *Client) advance(ctx context.Context, id string, tails []*tail) (grew bool, err error) {
	for _, t := range tails {
		if t.url == "" {
			if err := c.locate(ctx, id, tails); err != nil {
				return grew, err
			}
			break
		}
	}
	for _, t := range tails {
		if t.url == "" {
			continue
		}
		n, err := c.readOn(ctx, t)
		grew = grew || n > 0
		if err != nil {
			return grew, fmt.Errorf("read %s: %w", t.name, err)
		}
	}
	return grew, nil
}

// locate finds the links of files that are there by now.
func (c *Client) locate(ctx context.Context, id string, tails []*tail) error {
	listed, err := c.Files(ctx, id, "stdouterr", ".")
	if err != nil {
		return err
	}
	for _, f := range listed {
		for _, t := range tails {
			if f.Name == t.name && f.Type != "directory" {
				t.url = f.URL
			}
		}
	}
	return nil
}

// readOn copies what a file has grown by. The link carries its own signature; it goes to the API's server.
func (c *Client) readOn(ctx context.Context, t *tail) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.read))
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable: // nothing new
		return 0, nil
	case http.StatusForbidden, http.StatusUnauthorized, http.StatusNotFound: // the link has expired
		t.url = ""
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
