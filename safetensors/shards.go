package safetensors

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

const maxShardName = 255 // bytes, as file systems have it

// CheckShardName refuses, with a *FormatError, names that could lead out of the checkpoint's directory, hidden files, and
// files of another format.
func CheckShardName(name string) error {
	if bad := checkShardName(name); bad != nil {
		return bad
	}
	return nil
}

func checkShardName(name string) *FormatError {
	plain := !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, `/\:`) && strings.HasSuffix(name, ".safetensors") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if !plain || len(name) > maxShardName {
		return broken(RuleShardName, "the shard's name %s is refused", quote(name))
	}
	return nil
}

// ShardName returns the usual name of shard i (from 1) of n.
func ShardName(i, n int) string { return fmt.Sprintf("model-%05d-of-%05d.safetensors", i, n) }

// Files returns the names of the shards, sorted.
func (ix *Index) Files() []string {
	set := make(map[string]bool)
	for _, file := range ix.Shards {
		set[file] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// SplitShards cuts tensors, in their order, into shards of at most limit bytes of data each; a tensor larger than that has
// a shard of its own. It returns the number of tensors of each shard. Only Size of the tensors is read: Layout fills it in.
func SplitShards(tensors []Info, limit int64) []int {
	var counts []int
	var used int64
	for _, t := range tensors {
		if len(counts) == 0 || used > 0 && used > limit-t.Size {
			counts, used = append(counts, 0), 0
		}
		counts[len(counts)-1]++
		used += t.Size
	}
	return counts
}

// WriteDir writes tensors to the directory dir: as model.safetensors when their bytes fit one shard of at most limit
// bytes (0: DefaultShardBytes), otherwise as model-00001-of-0000N.safetensors … and their index. It returns the names of
// the files written. Each file is written as Write does; the index comes last, so that it never names what is not there.
func WriteDir(dir string, metadata map[string]string, tensors []Source, limit int64) ([]string, error) {
	if limit <= 0 {
		limit = DefaultShardBytes
	}
	_, infos, err := layoutSources(dir, metadata, tensors)
	if err != nil {
		return nil, err
	}
	counts := SplitShards(infos, limit)
	if len(counts) <= 1 {
		return []string{SingleName}, Write(filepath.Join(dir, SingleName), metadata, tensors)
	}
	ix := &Index{Shards: make(map[string]string, len(tensors))}
	var files []string
	for i, n := range counts {
		file := ShardName(i+1, len(counts))
		if err := Write(filepath.Join(dir, file), metadata, tensors[:n]); err != nil {
			return nil, err
		}
		for _, t := range infos[:n] {
			ix.Shards[t.Name] = file
			ix.TotalSize += t.Size
		}
		tensors, infos, files = tensors[n:], infos[n:], append(files, file)
	}
	return append(files, IndexName), ix.Write(filepath.Join(dir, IndexName))
}
