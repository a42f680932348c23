package compute

import (
	"fmt"

	gomlx "github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
)

// Program is a compiled graph that runs on buffers of its backend.
type Program struct {
	name string
	exec gomlx.Executable
	back *Backend
}

// Compile builds a graph with build, which declares its parameters and returns its outputs, and compiles it. On onnx the compiled model is
// improved before it is loaded (see fuseProducts). Panics inside build become errors.
func (b *Backend) Compile(name string, build func(g *graph.Graph) []*graph.Node) (*Program, error) {
	p := &Program{name: name, back: b}
	err := Safe("build graph "+name, func() error {
		g := graph.NewGraph(b.gomlx, name)
		restore := keepModel(b)
		defer restore()
		if err := g.Compile(build(g)...); err != nil {
			return err
		}
		var err error
		p.exec, err = improve(b, g.Executable())
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Run executes the program on one buffer for each parameter, in the order of their declaration. The inputs stay the caller's, and the
// outputs become his: he finalizes both.
func (p *Program) Run(in []gomlx.Buffer) (out []gomlx.Buffer, err error) {
	if p.exec == nil {
		return nil, fmt.Errorf("graph %s is closed", p.name)
	}
	err = Safe("run graph "+p.name+" on "+p.back.Name, func() (err error) {
		out, err = p.exec.Execute(in, nil, 0)
		return err
	})
	return out, err
}

// Close frees the program. Buffers that it returned stay valid.
func (p *Program) Close() {
	if p.exec != nil {
		p.exec.Finalize()
		p.exec = nil
	}
}
