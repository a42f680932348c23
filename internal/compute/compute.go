// Package compute chooses the GoMLX backend that runs the numbers: pure Go, ONNX Runtime or XLA.
//
// Everything that is trained goes through a Backend opened here, so the choice, its reason and its speed warnings are made in one place.
// The package also turns GoMLX's panics into errors (see Safe), because graphs panic while they are being built.
package compute

import (
	"context"
	"fmt"
	"os"
	"strings"

	gomlx "github.com/gomlx/compute"
)

// EnvBackend names the environment variable that overrides the backend when Open is asked for "auto" or for nothing.
const EnvBackend = "D2NWG_BACKEND"

// EnvLibrary names the environment variable with the path of the ONNX Runtime library.
const EnvLibrary = "ONNXRUNTIME_LIB"

// Names of the backends that Open knows.
const (
	Auto = "auto"
	Go   = "go"
	ONNX = "onnx"
	XLA  = "xla"
)

// Backend is an open compute backend.
type Backend struct {
	Name    string // "go", "onnx" or "xla"
	Why     string // one sentence: why this one was chosen
	Detail  string // the backend's own description of itself, with versions
	Warning string // what makes it slow, "" when nothing does; show it when training starts

	gomlx gomlx.Backend
}

// GoMLX returns the GoMLX backend inside. Only packages that build graphs use it.
func (b *Backend) GoMLX() gomlx.Backend { return b.gomlx }

// Status says of one backend whether it can be used here. It is what a diagnosis prints.
type Status struct {
	Name   string // "go", "onnx" or "xla"
	Usable bool
	Why    string // where it was found, or why it can't be used
	Faster string // what would make it usable or faster, "" when nothing would
}

// driver is one way to make a backend. Drivers that need cgo are added by files that are built only with it.
type driver struct {
	name string
	// find reports whether the backend can be used, without opening it. config is passed on to open.
	find func() (config string, st Status)
	// open makes the backend from find's config or from the part of a name after its colon.
	open func(config string) (gomlx.Backend, error)
	// auto reports whether "auto" may choose it once find says that it is usable.
	auto func() bool
}

// drivers lists the backends in "auto"'s order of preference: xla on a GPU, then onnx, then go.
func drivers() []driver {
	return []driver{xlaDriver(), onnxDriver(), goDriver()}
}

// Open opens the backend called name: "auto" (or ""), "go", "onnx" or "xla". A name may carry the backend's configuration after a
// colon: "onnx:/path/libonnxruntime.so", "xla:/path/plugin.so". The environment variable D2NWG_BACKEND decides in place of "auto".
// A backend that can't be used is an error that says why; only "auto" falls back to another one.
func Open(ctx context.Context, name string) (*Backend, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Neither library may download anything behind the user's back.
	if err := os.Setenv("GOMLX_NO_AUTO_INSTALL", "1"); err != nil {
		return nil, fmt.Errorf("compute: forbid GoMLX's downloads: %w", err)
	}
	asked := "asked for by name"
	if name == "" || name == Auto {
		name = Auto
		if v := os.Getenv(EnvBackend); v != "" && v != Auto {
			name, asked = v, EnvBackend+" is set to "+v
		}
	}
	if name == Auto {
		return openAuto()
	}
	kind, config, configured := strings.Cut(name, ":")
	for _, d := range drivers() {
		if d.name != kind {
			continue
		}
		if !configured {
			found, st := d.find()
			if !st.Usable {
				return nil, fmt.Errorf("compute: backend %s can't be used: %s; %s", kind, st.Why, st.Faster)
			}
			config = found
		}
		return open(d, config, asked)
	}
	return nil, fmt.Errorf("compute: unknown backend %q; use auto, go, onnx or xla", name)
}

// openAuto opens the first usable backend and tells why the faster ones were passed over.
func openAuto() (*Backend, error) {
	var passed []string
	for _, d := range drivers() {
		config, st := d.find()
		if !st.Usable {
			passed = append(passed, d.name+": "+st.Why)
			continue
		}
		if !d.auto() {
			passed = append(passed, d.name+": no GPU")
			continue
		}
		b, err := open(d, config, "chosen by auto: "+st.Why)
		if err == nil {
			return b, nil
		}
		passed = append(passed, err.Error())
	}
	return nil, fmt.Errorf("compute: no backend can be used: %s", strings.Join(passed, "; "))
}

// open runs a driver and fills in what Backend says about itself.
func open(d driver, config, why string) (*Backend, error) {
	b := &Backend{Name: d.name, Why: why}
	err := Safe("open backend "+d.name, func() (err error) {
		b.gomlx, err = d.open(config)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.Detail = b.gomlx.Description()
	if d.name == Go {
		b.Warning = slowWarning
	}
	return b, nil
}

// Candidates reports on every backend, in the order in which "auto" prefers them. Nothing is opened.
func Candidates() []Status {
	var all []Status
	for _, d := range drivers() {
		_, st := d.find()
		all = append(all, st)
	}
	return all
}

// Safe runs f and turns a panic of it into an error that begins with what. GoMLX panics while graphs are being built.
func Safe(what string, f func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("%s: %w", what, p)
		default:
			err = fmt.Errorf("%s: %v", what, p)
		}
	}()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
