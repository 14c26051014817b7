package gang

import (
	"math/bits"
	"time"
)

// Limits are sorted into classes, each with a bound, so that a tree can keep the narrowest job of each class. A job is
// taken to need the bound of its class when it is to go ahead of another: up to an eighth more than its limit. Half
// hours, hours, days and most of their multiples are bounds themselves.
const (
	grain    = time.Hour / 512 // the bound of class 0, 7 s
	linear   = 16              // the first classes are a grain apart, those after them an eighth of an octave
	octaves  = 14
	classes  = linear + 8*octaves + 1
	lastTime = classes - 2 // the class of the longest bound, 512 h; longer limits are in the class after it
)

// classOf returns the class of a limit, the least whose bound is not shorter.
func classOf(limit time.Duration) uint8 {
	x := uint64((limit + grain - 1) / grain)
	switch {
	case x <= linear:
		return uint8(max(x, 1) - 1)
	case x > linear<<octaves:
		return classes - 1
	}
	shift := bits.Len64(x-1) - 4
	m := int((x-1)>>shift) + 1 // 9 to 16
	return uint8(linear + 8*(shift-1) + m - 9)
}

// classWithin returns the last class whose bound is not longer than a time, -1 if there is none.
func classWithin(t time.Duration) int {
	x := uint64(max(t, 0) / grain)
	switch {
	case x <= linear:
		return int(x) - 1
	case x >= linear<<octaves:
		return lastTime
	}
	shift := bits.Len64(x) - 4
	return linear + 8*(shift-1) + int(x>>shift) - 9
}
