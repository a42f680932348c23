package pipeline

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"d2nwg/cmd/internal/recipe"
)

// A Resolver turns an address into a path on this machine; pinned is the same address at the commit that it stands for
// now, or the address itself where there are no commits. model asks for a checkpoint's own files only.
type Resolver func(address string, model bool) (path, pinned string, err error)

// locate turns the addresses of a recipe into paths. full is the recipe with the commits that its addresses stand for:
// those it names, else those that the run in dir began with, else today's; so a continued run has the same bytes. local
// has paths in their places.
func locate(dir string, r recipe.Improve, resolve Resolver) (full, local recipe.Improve, err error) {
	if resolve == nil {
		return r, r, nil
	}
	old, err := recipe.LoadImprove(filepath.Join(dir, RecipeFile), nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return full, local, err
	}
	full, local = r, r
	full.Resolved = nil
	local.Relatives.From = slices.Clone(r.Relatives.From)
	for _, p := range local.Places() {
		address := *p.Value
		known := address
		for _, resolved := range []map[string]string{old.Resolved, r.Resolved} { // what the recipe says wins
			if at, ok := resolved[address]; ok {
				known = at
			}
		}
		path, pinned, err := resolve(known, p.Model)
		if err != nil {
			return full, local, err
		}
		if *p.Value = path; pinned != address {
			if full.Resolved == nil {
				full.Resolved = map[string]string{}
			}
			full.Resolved[address] = pinned
		}
	}
	return full, local, nil
}
