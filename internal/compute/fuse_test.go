//go:build cgo

package compute

import "testing"

func TestBatchedProduct(t *testing.T) {
	for _, c := range []struct {
		equation           string
		transA, transB, ok bool
	}{
		{"abc,acd->abd", false, false, true},
		{"abc,adc->abd", false, true, true},
		{"abc,abd->acd", true, false, true},
		{"abc,adb->acd", true, true, true},
		{"abcd,abde->abce", false, false, true},
		{"abc,abd->adc", false, false, false}, // not ours: the result is turned
		{"ab,bc->ac", false, false, false},    // no batch: already a MatMul
		{"abc,dbe->adce", false, false, false},
		{"abc,abc->a", false, false, false},
		{"abc,acd", false, false, false},
	} {
		transA, transB, ok := batchedProduct(c.equation)
		if ok != c.ok || ok && (transA != c.transA || transB != c.transB) {
			t.Errorf("%s: got %v %v %v", c.equation, transA, transB, ok)
		}
	}
}
