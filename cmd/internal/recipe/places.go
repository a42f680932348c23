package recipe

// Place is a value of a recipe that says where something is: a path, or an address.
type Place struct {
	Value *string
	Model bool // a checkpoint; else data, or folders of any depth
}

// Places lists every value that may be an address, without the empty ones and what ships with d2nwg.
func (r *Improve) Places() []Place {
	all := []Place{{&r.Base, true}, {&r.Score.Tasks, false}, {&r.Score.Text, false}, {&r.Score.Data, false}}
	for i := range r.Relatives.From {
		all = append(all, Place{&r.Relatives.From[i], false})
	}
	var out []Place
	for _, p := range all {
		if *p.Value != "" && *p.Value != Bundled {
			out = append(out, p)
		}
	}
	return out
}
