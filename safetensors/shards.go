package safetensors

import (
	"fmt"
	"path/filepath"
)

// SplitShards cuts tensors, in their order, into shards of at most limit bytes of data each; a tensor larger than that has
// a shard of its own. It returns the number of tensors of each shard.
func SplitShards(tensors []Info, limit int64) []int {
	var counts []int
	var used int64
	for _, t := range tensors {
		if len(counts) == 0 || used > limit-t.Size && used > 0 {
			counts, used = append(counts, 0), 0
		}
		counts[len(counts)-1]++
		used += t.Size
	}
	return counts
}

// WriteDir writes tensors to the directory dir: as model.safetensors when their bytes fit one shard of at most limit
// bytes (0: DefaultShardBytes), otherwise as model-00001-of-0000N.safetensors … and their index. It returns the names of
// the files written. Each file is written as Write does; the index comes last, so that a checkpoint is never half there.
func WriteDir(dir string, metadata map[string]string, tensors []Source, limit int64) ([]string, error) {
	if limit <= 0 {
		limit = DefaultShardBytes
	}
	infos := make([]Info, len(tensors))
	for i, t := range tensors {
		infos[i] = Info{Name: t.Name, DType: t.DType, Shape: t.Shape}
	}
	_, infos, err := Layout(metadata, infos)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clean(dir), err)
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
