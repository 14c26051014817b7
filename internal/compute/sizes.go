package compute

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Size is a machine size: an Azure name and what it stands for.
type Size struct {
	Name     string
	CPUs     int
	MemoryMB int
	DiskMB   int    // temporary disk, as shown; lido makes none
	DataDisk int    // how many data disks, as shown
	Family   string // e.g. standardDSv3Family
	GPUs     int
}

// Sizes is a table of sizes by name in any case.
type Sizes struct {
	byName map[string]Size
	order  []Size
}

// NewSizes returns the common sizes of Azure with the given ones added or replaced.
func NewSizes(extra ...Size) *Sizes {
	t := &Sizes{byName: map[string]Size{}}
	for _, s := range append(azureSizes(), extra...) {
		t.byName[strings.ToLower(s.Name)] = s
	}
	for _, s := range t.byName {
		t.order = append(t.order, s)
	}
	slices.SortFunc(t.order, func(a, b Size) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.CPUs, b.CPUs), cmp.Compare(a.MemoryMB, b.MemoryMB), strings.Compare(a.Name, b.Name))
	})
	return t
}

// Lookup returns a size by its name in any case.
func (t *Sizes) Lookup(name string) (Size, bool) {
	s, ok := t.byName[strings.ToLower(name)]
	return s, ok
}

// All returns the sizes ordered by family and size.
func (t *Sizes) All() []Size { return t.order }

// Memory returns a size's memory in bytes.
func (s Size) Memory() int64 { return int64(s.MemoryMB) << 20 }

// series is a row of sizes that differ in their number of vCPUs: name = prefix + vCPUs + suffix.
type series struct {
	family, prefix, suffix string
	perCPU                 float64 // GiB of memory per vCPU
	cpus                   []int
}

func azureSizes() []Size {
	main := []int{2, 4, 8, 16, 32, 48, 64}
	wide := append(slices.Clone(main), 96)
	rows := []series{
		{"standardDv3Family", "D", "_v3", 4, main}, {"standardDSv3Family", "D", "s_v3", 4, main},
		{"standardDv4Family", "D", "_v4", 4, main}, {"standardDSv4Family", "D", "s_v4", 4, main},
		{"standardDv5Family", "D", "_v5", 4, wide}, {"standardDSv5Family", "D", "s_v5", 4, wide},
		{"standardDASv4Family", "D", "as_v4", 4, wide}, {"standardDASv5Family", "D", "as_v5", 4, wide},
		{"standardEv3Family", "E", "_v3", 8, main[:6]}, {"standardESv3Family", "E", "s_v3", 8, main[:6]},
		{"standardEv4Family", "E", "_v4", 8, main}, {"standardESv4Family", "E", "s_v4", 8, main},
		{"standardEv5Family", "E", "_v5", 8, main}, {"standardESv5Family", "E", "s_v5", 8, main},
		{"standardFFamily", "F", "", 2, []int{1, 2, 4, 8, 16}}, {"standardFSFamily", "F", "s", 2, []int{1, 2, 4, 8, 16}},
		{"standardFSv2Family", "F", "s_v2", 2, append(slices.Clone(main), 72)},
	}
	var out []Size
	for _, r := range rows {
		for _, n := range r.cpus {
			name := "Standard_" + r.prefix + strconv.Itoa(n) + r.suffix
			out = append(out, Size{Name: name, CPUs: n, MemoryMB: int(r.perCPU * 1024 * float64(n)), DiskMB: n * 8192, DataDisk: min(2*n, 32), Family: r.family})
		}
	}
	return append(out, singleSizes()...)
}

func singleSizes() []Size {
	const b, d1, d2, ds2, nc, nc3, t4, a2 = "standardBSFamily", "standardDFamily", "standardDv2Family", "standardDSv2Family", "standardNCFamily", "standardNCSv3Family", "Standard NCASv3_T4 Family", "standardAv2Family"
	const a = "standardA0_A7Family"
	return []Size{
		{"Standard_A0", 1, 768, 20480, 1, a, 0}, {"Standard_A1", 1, 1792, 71680, 2, a, 0}, {"Standard_A2", 2, 3584, 138240, 4, a, 0},
		{"Standard_A3", 4, 7168, 291840, 8, a, 0}, {"Standard_A4", 8, 14336, 619520, 16, a, 0}, {"Standard_A5", 2, 14336, 138240, 4, a, 0},
		{"Standard_A6", 4, 28672, 291840, 8, a, 0}, {"Standard_A7", 8, 57344, 619520, 16, a, 0},
		{"Standard_B1ls", 1, 512, 4096, 2, b, 0}, {"Standard_B1s", 1, 1024, 4096, 2, b, 0}, {"Standard_B1ms", 1, 2048, 4096, 2, b, 0},
		{"Standard_B2s", 2, 4096, 8192, 4, b, 0}, {"Standard_B2ms", 2, 8192, 16384, 4, b, 0}, {"Standard_B4ms", 4, 16384, 32768, 8, b, 0},
		{"Standard_B8ms", 8, 32768, 65536, 16, b, 0}, {"Standard_B12ms", 12, 49152, 98304, 16, b, 0}, {"Standard_B16ms", 16, 65536, 131072, 32, b, 0},
		{"Standard_B20ms", 20, 81920, 163840, 32, b, 0},
		{"Standard_A1_v2", 1, 2048, 10240, 2, a2, 0}, {"Standard_A2_v2", 2, 4096, 20480, 4, a2, 0}, {"Standard_A4_v2", 4, 8192, 40960, 8, a2, 0},
		{"Standard_A8_v2", 8, 16384, 81920, 16, a2, 0}, {"Standard_A2m_v2", 2, 16384, 20480, 4, a2, 0}, {"Standard_A4m_v2", 4, 32768, 40960, 8, a2, 0},
		{"Standard_D1", 1, 3584, 51200, 4, d1, 0}, {"Standard_D2", 2, 7168, 102400, 8, d1, 0}, {"Standard_D3", 4, 14336, 204800, 16, d1, 0}, {"Standard_D4", 8, 28672, 409600, 32, d1, 0},
		{"Standard_D1_v2", 1, 3584, 51200, 4, d2, 0}, {"Standard_D2_v2", 2, 7168, 102400, 8, d2, 0}, {"Standard_D3_v2", 4, 14336, 204800, 16, d2, 0},
		{"Standard_D4_v2", 8, 28672, 409600, 32, d2, 0}, {"Standard_D5_v2", 16, 57344, 819200, 64, d2, 0}, {"Standard_D11_v2", 2, 14336, 102400, 8, d2, 0},
		{"Standard_D12_v2", 4, 28672, 204800, 16, d2, 0}, {"Standard_D13_v2", 8, 57344, 409600, 32, d2, 0}, {"Standard_D14_v2", 16, 114688, 819200, 64, d2, 0},
		{"Standard_DS1_v2", 1, 3584, 7168, 4, ds2, 0}, {"Standard_DS2_v2", 2, 7168, 14336, 8, ds2, 0}, {"Standard_DS3_v2", 4, 14336, 28672, 16, ds2, 0},
		{"Standard_DS4_v2", 8, 28672, 57344, 32, ds2, 0}, {"Standard_DS5_v2", 16, 57344, 114688, 64, ds2, 0}, {"Standard_DS11_v2", 2, 14336, 28672, 8, ds2, 0},
		{"Standard_DS12_v2", 4, 28672, 57344, 16, ds2, 0}, {"Standard_DS13_v2", 8, 57344, 114688, 32, ds2, 0}, {"Standard_DS14_v2", 16, 114688, 229376, 64, ds2, 0},
		{"Standard_NC6", 6, 57344, 348160, 24, nc, 1}, {"Standard_NC12", 12, 114688, 696320, 48, nc, 2}, {"Standard_NC24", 24, 229376, 1474560, 64, nc, 4},
		{"Standard_NC6s_v3", 6, 114688, 344064, 12, nc3, 1}, {"Standard_NC12s_v3", 12, 229376, 688128, 24, nc3, 2}, {"Standard_NC24s_v3", 24, 458752, 1376256, 32, nc3, 4},
		{"Standard_NC4as_T4_v3", 4, 28672, 180224, 8, t4, 1}, {"Standard_NC8as_T4_v3", 8, 57344, 360448, 16, t4, 1}, {"Standard_NC16as_T4_v3", 16, 112640, 360448, 32, t4, 1},
	}
}
