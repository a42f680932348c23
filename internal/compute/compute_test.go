package compute

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
)

// square runs x·x on a backend.
func square(t *testing.T, b *Backend) []float32 {
	t.Helper()
	var out []float32
	err := Safe("square", func() error {
		x := []float32{1, 2, 3}
		y, err := graph.CallOnce(b.GoMLX(), func(x *graph.Node) *graph.Node { return graph.Mul(x, x) }, x)
		if err != nil {
			return err
		}
		out = y.Value().([]float32)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEveryUsableBackendComputes(t *testing.T) {
	for _, st := range Candidates() {
		if !st.Usable {
			if st.Why == "" || st.Faster == "" {
				t.Errorf("backend %s is not usable but does not say why (%q) and what to do (%q)", st.Name, st.Why, st.Faster)
			}
			continue
		}
		if st.Name == XLA && os.Getenv("GOMLX_BACKEND") == "" {
			continue
		}
		b, err := Open(context.Background(), st.Name)
		if err != nil {
			t.Fatal(err)
		}
		got := square(t, b)
		if len(got) != 3 || got[0] != 1 || got[1] != 4 || got[2] != 9 {
			t.Errorf("%s: got %v, want [1 4 9]", st.Name, got)
		}
	}
}

func TestAutoFollowsTheEnvironment(t *testing.T) {
	t.Setenv(EnvBackend, "go")
	b, err := Open(context.Background(), Auto)
	if err != nil {
		t.Fatal(err)
	}
	if b.Name != Go || !strings.Contains(b.Why, EnvBackend) {
		t.Errorf("got backend %q because %q, want go because of %s", b.Name, b.Why, EnvBackend)
	}
	if b.Warning != slowWarning {
		t.Errorf("warning %q, want %q", b.Warning, slowWarning)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, name := range []string{"tpu", "onnx:no/such/libonnxruntime.so"} {
		if _, err := Open(context.Background(), name); err == nil {
			t.Errorf("Open(%q) succeeded", name)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, Go); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a cancelled context: %v", err)
	}
}

func TestMissingLibraryIsExplained(t *testing.T) {
	t.Setenv(EnvLibrary, "/no/such/library.so")
	_, err := Open(context.Background(), ONNX)
	if err == nil || !strings.Contains(err.Error(), "onnx") {
		t.Errorf("got %v, want an error that names onnx", err)
	}
}

func TestSafe(t *testing.T) {
	cause := errors.New("wrong shape")
	err := Safe("build", func() error { panic(cause) })
	if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "build: ") {
		t.Errorf("got %v", err)
	}
	if err := Safe("build", func() error { panic("words") }); err == nil || err.Error() != "build: words" {
		t.Errorf("got %v", err)
	}
	if err := Safe("build", func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
}
