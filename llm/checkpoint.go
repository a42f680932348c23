package llm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"d2nwg/safetensors"
)

// Tensor is one stored tensor of a checkpoint.
type Tensor struct {
	safetensors.Info
	File string // base name of the shard that holds it
}

// Checkpoint is an opened checkpoint directory. Its weights stay mapped files:
// opening reads headers only. It is safe for concurrent reading until Close.
type Checkpoint struct {
	Dir    string
	Config Config

	shards  []*safetensors.File // in order of their file names
	sharded bool                // there is an index
	tensors []Tensor
	byName  map[string]int // into tensors
	shardOf map[string]*safetensors.File

	hashOnce sync.Once
	hash     string
	hashErr  error
}

// Open opens dir/config.json and dir/model.safetensors, or the shards of
// dir/model.safetensors.index.json. Every tensor of the name map must be there
// with its shape and a float dtype, and no other may be, save the harmless ones
// that old converters wrote and the head of a tied model. Errors name the file
// and tensor; they wrap safetensors.ErrFormat, or fs.ErrNotExist when files lack.
func Open(dir string) (*Checkpoint, error) {
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{Dir: dir, Config: cfg, byName: map[string]int{}, shardOf: map[string]*safetensors.File{}}
	if err := c.openShards(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), c.Close())
	}
	return c, nil
}

func (c *Checkpoint) openShards() error {
	single := filepath.Join(c.Dir, safetensors.SingleName)
	if _, err := os.Stat(single); err == nil {
		return c.openShard(safetensors.SingleName)
	}
	indexPath := filepath.Join(c.Dir, safetensors.IndexName)
	if _, err := os.Stat(indexPath); err != nil {
		return c.noWeights()
	}
	index, err := safetensors.ReadIndex(indexPath)
	if err != nil {
		return err
	}
	c.sharded = true
	files := map[string]bool{}
	for _, file := range index.Shards {
		files[file] = true
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := c.openShard(file); err != nil {
			return err
		}
	}
	return c.checkIndex(indexPath, index)
}

// noWeights says what is there instead of safetensors.
func (c *Checkpoint) noWeights() error {
	hint := ""
	for _, pattern := range []string{"*.bin", "*.pt", "*.pth"} {
		if m, _ := filepath.Glob(filepath.Join(c.Dir, pattern)); len(m) > 0 {
			hint = fmt.Sprintf(" (%s is a pickle file, which is refused: convert it to safetensors)", filepath.Base(m[0]))
			break
		}
	}
	return fmt.Errorf("%s has neither %s nor %s%s: %w", c.Dir, safetensors.SingleName, safetensors.IndexName, hint, fs.ErrNotExist)
}

func (c *Checkpoint) openShard(file string) error {
	f, err := safetensors.Open(filepath.Join(c.Dir, file))
	if err != nil {
		return err
	}
	c.shards = append(c.shards, f)
	for _, info := range f.Tensors() {
		if other, dup := c.shardOf[info.Name]; dup {
			return badf("tensor %q is in %s and in %s", info.Name, filepath.Base(other.Path()), file)
		}
		c.byName[info.Name] = len(c.tensors)
		c.shardOf[info.Name] = f
		c.tensors = append(c.tensors, Tensor{Info: info, File: file})
	}
	return nil
}

// checkIndex requires the index and the shards to name the same tensors.
func (c *Checkpoint) checkIndex(path string, index *safetensors.Index) error {
	for _, t := range c.tensors {
		if file, ok := index.Shards[t.Name]; !ok {
			return badf("%s doesn't name tensor %q of %s", path, t.Name, t.File)
		} else if file != t.File {
			return badf("%s says tensor %q is in %s, it is in %s", path, t.Name, file, t.File)
		}
	}
	if len(index.Shards) == len(c.tensors) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(index.Shards)) {
		if _, ok := c.byName[name]; !ok {
			return badf("%s says tensor %q is in %s, it isn't there", path, name, index.Shards[name])
		}
	}
	return nil
}

// shownNames is how many names an error lists.
const shownNames = 5

// check holds the tensors against the name map. It allocates nothing by the
// config's numbers: the walk over expected names ends at the first few missing
// ones, so after at most len(tensors)+shownNames steps.
func (c *Checkpoint) check() error {
	var missing []string
	expected := map[string]bool{}
	for want := range c.Config.tensors() {
		t, ok := c.Tensor(want.Name)
		if !ok {
			if missing = append(missing, want.Name); len(missing) == shownNames {
				break
			}
			continue
		}
		if err := checkTensor(t, want.Shape); err != nil {
			return err
		}
		expected[want.Name] = true
	}
	if len(missing) > 0 {
		return badf("missing tensors: %s", listNames(missing, len(missing) == shownNames))
	}
	var unexpected []string
	for _, t := range c.tensors {
		switch {
		case expected[t.Name], isIgnored(t.Name):
		case t.Name == LMHeadName: // a tied model may store its head too
			if err := checkTensor(t, []int{c.Config.VocabSize, c.Config.HiddenSize}); err != nil {
				return err
			}
		default:
			unexpected = append(unexpected, t.Name)
		}
	}
	if len(unexpected) > 0 {
		return badf("unexpected tensors, which the config doesn't call for: %s", listNames(unexpected, false))
	}
	return nil
}

func checkTensor(t Tensor, shape []int) error {
	if !slices.Equal(t.Shape, shape) {
		return badf("tensor %q in %s has shape %v, the config calls for %v", t.Name, t.File, t.Shape, shape)
	}
	if !isFloat(t.DType) {
		return badf("tensor %q in %s has dtype %s, weights are F64, F32, F16, BF16, F8_E4M3 or F8_E5M2", t.Name, t.File, t.DType)
	}
	return nil
}

// isFloat tells the dtypes that weights may be stored in: those that both
// safetensors.Decode and Encode know.
func isFloat(dt safetensors.DType) bool {
	switch dt {
	case "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2":
		return true
	}
	return false
}

// listNames joins the first few names for an error; more says that there are
// others still.
func listNames(names []string, more bool) string {
	shown := make([]string, min(len(names), shownNames))
	for i := range shown {
		shown[i] = strconv.Quote(clip(names[i]))
	}
	if more || len(shown) < len(names) {
		shown = append(shown, "…")
	}
	return strings.Join(shown, ", ")
}

// Close unmaps the files. Views from Bytes are invalid afterwards.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, f := range c.shards {
		errs = append(errs, f.Close())
	}
	c.shards = nil
	return errors.Join(errs...)
}

// Tensors returns every stored tensor, shard by shard in data order.
func (c *Checkpoint) Tensors() []Tensor { return slices.Clone(c.tensors) }

// Tensor returns one stored tensor.
func (c *Checkpoint) Tensor(name string) (Tensor, bool) {
	i, ok := c.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return c.tensors[i], true
}

// Files returns the base names of the shards in order.
func (c *Checkpoint) Files() []string {
	names := make([]string, len(c.shards))
	for i, f := range c.shards {
		names[i] = filepath.Base(f.Path())
	}
	return names
}

// Bytes returns the stored bytes of a tensor, a view that is valid until Close.
func (c *Checkpoint) Bytes(name string) ([]byte, error) {
	f, ok := c.shardOf[name]
	if !ok {
		return nil, fmt.Errorf("checkpoint %s has no tensor %q", c.Dir, name)
	}
	return f.Bytes(name)
}

// Float32 returns a fresh decoded copy of a tensor, row-major.
func (c *Checkpoint) Float32(name string) ([]float32, error) {
	t, ok := c.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("checkpoint %s has no tensor %q", c.Dir, name)
	}
	raw, err := c.Bytes(name)
	if err != nil {
		return nil, err
	}
	out := make([]float32, elements(t.Shape))
	if err := safetensors.Decode(out, t.DType, raw); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	return out, nil
}

// Hash returns the SHA-256 over the bytes of the weight files in order of their
// names, in hex: for an unsharded checkpoint the checksum of model.safetensors.
// It is computed once.
func (c *Checkpoint) Hash() (string, error) {
	c.hashOnce.Do(func() {
		h := sha256.New()
		for _, f := range c.shards {
			if c.hashErr = hashFile(h, f.Path()); c.hashErr != nil {
				return
			}
		}
		c.hash = hex.EncodeToString(h.Sum(nil))
	})
	return c.hash, c.hashErr
}

// sha256File returns a file's SHA-256 in hex.
func sha256File(path string) (string, error) {
	h := sha256.New()
	if err := hashFile(h, path); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}
