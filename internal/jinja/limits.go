package jinja

import "time"

// What a template may do. Templates of models and tasks stay below these by orders of magnitude; a hostile one ends in ErrLimit.
const (
	MaxSource    = 1 << 20   // bytes of a template
	maxNodes     = 5000      // parts of one expression, which bounds its depth
	maxNesting   = 100       // tags within tags
	maxSteps     = 3_000_000 // operations of a rendering
	maxWork      = 256 << 20 // bytes that a rendering may build or look through
	maxOutput    = 32 << 20  // bytes of the result
	maxCalls     = 200       // macros within macros
	maxDepth     = 500       // lists within lists that are printed or compared
	maxRange     = 100_000   // items of range(): MAX_RANGE of Jinja2's sandbox
	maxIntDigits = 4300      // digits of an integer that is printed: Python's limit
	maxIntBits   = 1 << 15
	maxItems     = 4 << 20 // items of a list that is built
	itemBytes    = 16
)

// run is the state of one rendering.
type run struct {
	now    time.Time
	strict bool // undefined values can't be printed, tested or walked over
	own    map[string]Filter
	steps  int
	work   int
	calls  int
}

func (rt *run) step() error {
	if rt.steps++; rt.steps > maxSteps {
		return limitError("it takes too many steps")
	}
	return nil
}

// charge counts n bytes that are about to be built or looked through.
func (rt *run) charge(n int) error {
	if n < 0 || n > maxWork || rt.work+n > maxWork {
		return limitError("it builds too much text")
	}
	rt.work += n
	return nil
}

// items counts n items of a list.
func (rt *run) items(n int) error {
	if n > maxItems {
		return limitError("it builds too long a list")
	}
	return rt.charge(n * itemBytes)
}
