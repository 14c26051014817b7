package template

import (
	"encoding/binary"
	"math/bits"
)

// uniqueString is Azure's 13 characters for a text: 64 bits of a MurmurHash3 of two 32-bit lanes, five bits a letter.
// The hash is not one of the published family: it takes two multipliers of the 128-bit x86 variant, swapped for the
// second lane, and the additive constants of its first two lanes. Tests hold it to published values; implementations of
// others that were checked beside the bicep compiler's do the same for every length of text.
func uniqueString(text string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	h := murmur64([]byte(text))
	out := make([]byte, 13)
	for i := range out {
		out[i] = letters[h>>59]
		h <<= 5
	}
	return string(out)
}

func murmur64(data []byte) uint64 {
	var h1, h2 uint32
	size := uint32(len(data))
	for ; len(data) >= 8; data = data[8:] {
		h1 ^= lane1(binary.LittleEndian.Uint32(data))
		h1 = (bits.RotateLeft32(h1, 19)+h2)*5 + 0x561ccd1b
		h2 ^= lane2(binary.LittleEndian.Uint32(data[4:]))
		h2 = (bits.RotateLeft32(h2, 13)+h1)*5 + 0x0bcaa747
	}
	var rest [8]byte
	copy(rest[:], data)
	h1 ^= lane1(binary.LittleEndian.Uint32(rest[:]))
	h2 ^= lane2(binary.LittleEndian.Uint32(rest[4:]))

	h1, h2 = h1^size, h2^size
	h1 += h2
	h2 += h1
	h1, h2 = avalanche(h1), avalanche(h2)
	h1 += h2
	h2 += h1
	return uint64(h2)<<32 | uint64(h1)
}

const mulA, mulB = 0x239b961b, 0xab0e9789

func lane1(k uint32) uint32 { return bits.RotateLeft32(k*mulA, 15) * mulB }

func lane2(k uint32) uint32 { return bits.RotateLeft32(k*mulB, 17) * mulA }

func avalanche(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
