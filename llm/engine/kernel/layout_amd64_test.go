package kernel

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// TestTileOffsets has the offsets that internal/gen writes into the assembly.
func TestTileOffsets(t *testing.T) {
	var a tile
	got := []uintptr{
		unsafe.Offsetof(a.c), unsafe.Offsetof(a.ldc), unsafe.Offsetof(a.x), unsafe.Offsetof(a.w), unsafe.Offsetof(a.ldw),
		unsafe.Offsetof(a.n), unsafe.Offsetof(a.whole), unsafe.Offsetof(a.rem), unsafe.Offsetof(a.add),
		unsafe.Offsetof(a.ahead), unsafe.Offsetof(a.pace), unsafe.Offsetof(a.part), unsafe.Offsetof(a.parts),
	}
	if want := []uintptr{0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96}; !cmp.Equal(got, want) {
		t.Errorf("offsets of tile are %v, the assembly has %v", got, want)
	}
}
