package compute

import (
	"fmt"
	"reflect"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
)

// goDriver is GoMLX's pure Go backend: it needs nothing and is always there.
func goDriver() driver {
	return driver{
		name: Go,
		find: func() (string, Status) {
			st := Status{Name: Go, Usable: true, Why: "pure Go, with SIMD instructions: needs nothing"}
			if slowWarning != "" {
				st.Why, st.Faster = "pure Go: needs nothing", slowWarning
			}
			return "", st
		},
		open: openGo,
		auto: func() bool { return true },
	}
}

// openGo makes the Go backend with unlimited parallelism: its default limit deadlocks on wide graphs.
// The configuration string "parallelism=-1" would do the same, but it also prints a line on standard output, where data goes; so the
// exported field behind it is set instead.
func openGo(config string) (gomlx.Backend, error) {
	b, err := gobackend.New(config)
	if err != nil {
		return nil, err
	}
	workers := reflect.Indirect(reflect.ValueOf(b)).FieldByName("Workers")
	if !workers.IsValid() {
		return nil, fmt.Errorf("GoMLX's Go backend has no worker pool to set to unlimited parallelism; use the pinned version of github.com/gomlx/compute")
	}
	set := workers.MethodByName("SetMaxParallelism")
	if !set.IsValid() {
		return nil, fmt.Errorf("GoMLX's Go backend can't be set to unlimited parallelism; use the pinned version of github.com/gomlx/compute")
	}
	set.Call([]reflect.Value{reflect.ValueOf(-1)})
	return b, nil
}
