//go:build cgo

package compute

import (
	"bytes"
	"strings"

	gomlx "github.com/gomlx/compute"
	onnxbackend "github.com/gomlx/compute-onnx"
	onnx "github.com/gomlx/compute-onnx/support/protos"
	"google.golang.org/protobuf/proto"
)

// keepModel asks an onnx backend to keep the models that it compiles, which improve reads, until the returned function is called.
func keepModel(b *Backend) (restore func()) {
	o, ok := b.gomlx.(*onnxbackend.Backend)
	if !ok {
		return func() {}
	}
	before := o.KeepModelProto()
	o.SetKeepModelProto(true)
	return func() { o.SetKeepModelProto(before) }
}

// improve replaces a compiled onnx model by a faster one that computes the same; other backends' executables pass unchanged.
func improve(b *Backend, exec gomlx.Executable) (gomlx.Executable, error) {
	kept, ok := exec.(interface{ ModelProto() *onnx.ModelProto })
	if !ok || kept.ModelProto() == nil {
		return exec, nil
	}
	model := kept.ModelProto()
	if fuseProducts(model) == 0 {
		return exec, nil
	}
	raw, err := proto.Marshal(model)
	if err != nil {
		return nil, err
	}
	better, err := onnxbackend.LoadModel(b.gomlx, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	exec.Finalize()
	return better, nil
}

// fuseProducts turns batched Einsum nodes into FusedMatMul, ONNX Runtime's batched matrix product with transposed operands, and returns how
// many it turned. GoMLX writes every product of more than two axes as an Einsum, which ONNX Runtime computes batch by batch, with
// transposed copies of the operands and one more copy of the result.
func fuseProducts(model *onnx.ModelProto) int {
	fused := 0
	for _, n := range model.GetGraph().GetNode() {
		if n.GetOpType() != "Einsum" || len(n.GetInput()) != 2 {
			continue
		}
		var equation string
		for _, a := range n.GetAttribute() {
			if a.GetName() == "equation" {
				equation = string(a.GetS())
			}
		}
		transA, transB, ok := batchedProduct(equation)
		if !ok {
			continue
		}
		n.OpType, n.Domain = "FusedMatMul", "com.microsoft"
		n.Attribute = []*onnx.AttributeProto{flag("transA", transA), flag("transB", transB)}
		fused++
	}
	return fused
}

func flag(name string, set bool) *onnx.AttributeProto {
	a := &onnx.AttributeProto{Name: name, Type: onnx.AttributeProto_INT}
	if set {
		a.I = 1
	}
	return a
}

// batchedProduct tells whether an equation is a product of two matrices for every index of the same leading batch axes, and which operand
// is transposed: "bik,bkj->bij" is plain, "bik,bjk->bij" has the second one transposed.
func batchedProduct(equation string) (transA, transB, ok bool) {
	operands, out, found := strings.Cut(equation, "->")
	if !found {
		return false, false, false
	}
	a, b, found := strings.Cut(operands, ",")
	batch := len(a) - 2
	if !found || batch < 1 || len(b) != len(a) || len(out) != len(a) || a[:batch] != b[:batch] || a[:batch] != out[:batch] {
		return false, false, false
	}
	i, j := out[batch], out[batch+1]
	switch {
	case a[batch] == i:
	case a[batch+1] == i:
		transA = true
	default:
		return false, false, false
	}
	switch {
	case b[batch+1] == j:
	case b[batch] == j:
		transB = true
	default:
		return false, false, false
	}
	inner := func(m string, transposed bool, first int) byte {
		if transposed {
			first = 1 - first
		}
		return m[batch+first]
	}
	return transA, transB, i != j && inner(a, transA, 1) == inner(b, transB, 0)
}
