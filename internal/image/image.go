// Package image makes the root file systems that machines start from.
//
// A client asks for an image by a marketplace reference or an alias (Reference). The Catalogue knows which Recipe
// stands behind it, and says so when that is not the same thing (Substitution). The Store builds a recipe into a
// read-only root directory, once, and keeps it under the hash of everything that went into it.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Errors that callers tell apart, wrapped with the image's name.
var (
	ErrUnknown = errors.New("no such image")
	ErrInUse   = errors.New("image is in use")
	ErrBuild   = errors.New("image could not be built")
)

// Reference is how a client names an image, in the form of a scale set's imageReference.
type Reference struct {
	Publisher string `json:"publisher,omitempty"`
	Offer     string `json:"offer,omitempty"`
	SKU       string `json:"sku,omitempty"`
	Version   string `json:"version,omitempty"` // exact, or "latest"
	ID        string `json:"id,omitempty"`      // of an image of the client's own; lido has none
}

// String returns the reference as publisher:offer:sku:version, or its id.
func (r Reference) String() string {
	if r.ID != "" {
		return r.ID
	}
	return strings.Join([]string{r.Publisher, r.Offer, r.SKU, r.Version}, ":")
}

// ParseURN reads publisher:offer:sku:version; a missing version is "latest".
func ParseURN(s string) (Reference, bool) {
	parts := strings.Split(s, ":")
	if len(parts) == 3 {
		parts = append(parts, "latest")
	}
	if len(parts) != 4 {
		return Reference{}, false
	}
	for _, p := range parts {
		if p == "" {
			return Reference{}, false
		}
	}
	return Reference{Publisher: parts[0], Offer: parts[1], SKU: parts[2], Version: parts[3]}, true
}

// Resolution is what a reference comes to.
type Resolution struct {
	Reference    Reference // as the catalogue writes it, with the exact version
	Recipe       Recipe
	Substitution string // a sentence when the recipe is not what the reference names in Azure; else empty
}

// Rootfs is a built image.
type Rootfs struct {
	Name         string        `json:"name"` // of the recipe
	Hash         string        `json:"hash"` // of everything that went in
	Dir          string        `json:"-"`    // its read-only root directory, owned by the host's root
	Size         int64         `json:"size"` // bytes on disk
	Built        time.Time     `json:"built"`
	Took         time.Duration `json:"took"`
	Distribution string        `json:"distribution"` // "Debian 12 (bookworm)"-like, from its os-release
	Substitution string        `json:"substitution,omitempty"`
}

// Event is one message of a build's progress.
type Event struct {
	Image       string
	Step, Steps int    // counted from 1
	Name        string // what the step does
	Done, Total int    // parts of the step, when Total is known; else 0
	Elapsed     time.Duration
}

// String returns the event as one line for people.
func (e Event) String() string {
	s := fmt.Sprintf("%s: step %d of %d, %s", e.Image, e.Step, e.Steps, e.Name)
	if e.Total > 0 {
		s += fmt.Sprintf(" %d%%", 100*e.Done/e.Total)
	}
	return s + fmt.Sprintf(" (%d s)", int(e.Elapsed.Seconds()))
}

// Progress takes a build's events, one at a time. Nil is allowed and takes none.
type Progress func(Event)

func (p Progress) tell(e Event) {
	if p != nil {
		p(e)
	}
}

// Lines returns a Progress that writes a line for each step and for each quarter of a long one.
func Lines(w io.Writer) Progress {
	var image string
	step, quarter := 0, 0
	return func(e Event) {
		q := 0
		if e.Total > 0 {
			q = 4 * e.Done / e.Total
		}
		if e.Image == image && e.Step == step && q <= quarter {
			return
		}
		image, step, quarter = e.Image, e.Step, q
		fmt.Fprintln(w, e)
	}
}

// Builder is what the users of images need of a Store.
type Builder interface {
	// Ensure returns the recipe's image, building it first when it does not exist.
	Ensure(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error)
}
