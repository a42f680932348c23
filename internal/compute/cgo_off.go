//go:build !cgo

package compute

import (
	"errors"

	gomlx "github.com/gomlx/compute"
)

// onnxDriver reports that this build can't load ONNX Runtime.
func onnxDriver() driver { return needsCgo(ONNX) }

// xlaDriver reports that this build can't load an XLA plugin.
func xlaDriver() driver { return needsCgo(XLA) }

func needsCgo(name string) driver {
	st := Status{Name: name, Why: "this program was built without cgo", Faster: "install gcc and build with CGO_ENABLED=1"}
	return driver{
		name: name,
		find: func() (string, Status) { return "", st },
		open: func(string) (gomlx.Backend, error) { return nil, errors.New(st.Why + "; " + st.Faster) },
		auto: func() bool { return false },
	}
}
