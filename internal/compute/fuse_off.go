//go:build !cgo

package compute

import gomlx "github.com/gomlx/compute"

// keepModel does nothing: only onnx keeps models.
func keepModel(*Backend) (restore func()) { return func() {} }

// improve leaves the executable as it is: only onnx models are improved.
func improve(_ *Backend, exec gomlx.Executable) (gomlx.Executable, error) { return exec, nil }
