// Package safetensors reads and writes the safetensors file format, whole: a memory-mapped reader that enforces every
// rule of the format, a streaming writer that replaces files atomically, shards with their index, and the conversion of
// the floating-point types to and from float32.
//
// A file is an 8-byte little-endian header length, a JSON header naming each tensor's dtype, shape and place, and one
// data section in which the tensors lie back to back, little-endian and row-major:
//
//	| u64 n | n bytes of JSON, padded with spaces | tensor bytes … |
//
// What a file says is never believed before it is checked against the file's own size, and nothing is allocated in
// proportion to a number in the file, only in proportion to bytes that are there.
package safetensors

// SingleName is the name of an unsharded checkpoint's weight file, and IndexName that of a sharded one's index.
const (
	SingleName = "model.safetensors"
	IndexName  = "model.safetensors.index.json"
)

// DefaultShardBytes is the size at which the common tools begin a new shard.
const DefaultShardBytes = 5_000_000_000

const (
	maxHeader   = 100_000_000 // bytes of JSON, the limit of the reference implementation
	maxIndex    = 100_000_000 // bytes of an index file
	metadataKey = "__metadata__"
)
