package node

import "testing"

// Bytes are counted at the devices at the bottom, whatever lines the kernel writes: some have no figures.
func TestTransferred(t *testing.T) {
	const stat = `7:0 8:0 rbytes=100 wbytes=2000 rios=1 wios=2 dbytes=30 dios=1
253:0 rbytes=100 wbytes=2000 rios=1 wios=2 dbytes=0 dios=0
254:16
259:1 rbytes=5 wbytes=6 rios=1 wios=1 dbytes=0 dios=0 cost.usage=7
`
	read, written := transferred(stat, func(device string) bool { return device == "253:0" })
	if read != 105 || written != 2006 {
		t.Errorf("read %d, written %d", read, written)
	}
}
