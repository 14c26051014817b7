//go:build root

package image_test

import (
	"testing"

	"lido.dev/lido/internal/image/imagetest"
)

// The recipe's own set-up checks what is in it.
func TestBatchImage(t *testing.T) { imagetest.Ensure(t, "batch") }
