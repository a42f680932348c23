package llm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"d2nwg/internal/progress"
	"d2nwg/safetensors"
)

// WriteOptions say how Variant.Write treats its target.
type WriteOptions struct {
	Force    bool              // overwrite an existing checkpoint directory
	Extra    map[string][]byte // further files by base name; they win over copied ones
	Progress progress.Func     // bytes of weights written, stage "write"
}

// Write makes dir the full checkpoint of the variant. Every shard keeps its
// name, header, order and dtypes; bytes of untouched tensors are copied as they
// are, from file to file; config, tokenizer, generation and licence files come
// along. dir appears whole or not at all. A NaN or infinite value (after
// rounding to the stored dtype) is refused by the tensor's name, and so are
// names and lengths that don't fit the base.
func (v *Variant) Write(dir string, opt WriteOptions) error {
	if err := v.Check(); err != nil {
		return err
	}
	if sameDirectory(dir, v.Base.Dir) {
		return fmt.Errorf("%s is the base checkpoint itself: choose another directory", dir)
	}
	return WriteDirectory(dir, opt.Force, func(partial string) error {
		names, err := companions(v.Base.Dir)
		if err != nil {
			return err
		}
		if err := copyFiles(v.Base.Dir, partial, names); err != nil {
			return err
		}
		if err := v.Base.rewrite(partial, v.change, opt.Progress); err != nil {
			return err
		}
		if err := writeFiles(partial, opt.Extra); err != nil {
			return err
		}
		return reopen(partial)
	})
}

// reopen makes sure that what was written is a checkpoint: a base that changed
// under its mapping would be found here.
func reopen(dir string) error {
	c, err := Open(dir)
	if err != nil {
		return fmt.Errorf("what was written can't be read back: %w", err)
	}
	return c.Close()
}

func sameDirectory(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

// written counts bytes for the caller.
type written struct {
	report      progress.Func
	done, total int64
}

func (w *written) add(n int64) {
	w.done += n
	w.report.Report(progress.Event{Stage: "write", Done: w.done, Total: w.total})
}

// dataEnd is the length of a file's data section.
func dataEnd(f *safetensors.File) int64 {
	infos := f.Tensors()
	if len(infos) == 0 {
		return 0
	}
	last := infos[len(infos)-1]
	return last.Offset + last.Size
}

// change writes the new bytes of a tensor to s; nil where the tensor stays as it is.
type change func(s *shardWriter) error

// rewrite writes the checkpoint's index and shards to dir, with the changes that
// of gives for their tensors.
func (c *Checkpoint) rewrite(dir string, of func(safetensors.Info) change, report progress.Func) error {
	if c.sharded {
		if err := copyFile(c.Dir, dir, safetensors.IndexName); err != nil {
			return err
		}
	}
	p := &written{report: report}
	for _, f := range c.shards {
		p.total += dataEnd(f)
	}
	for _, f := range c.shards {
		if err := writeShard(f, filepath.Join(dir, filepath.Base(f.Path())), of, p); err != nil {
			return err
		}
	}
	return nil
}

// change gives the change of one tensor of a variant.
func (v *Variant) change(info safetensors.Info) change {
	_, replaced := v.Replace[info.Name]
	_, updated := v.LowRank[info.Name]
	if !replaced && !updated {
		return nil
	}
	return func(s *shardWriter) error { return s.writeTensor(v, info) }
}

// writeShard writes one shard: header and untouched ranges from file to file,
// changed tensors by their changes.
func writeShard(f *safetensors.File, path string, of func(safetensors.Info) change, p *written) error {
	src, err := os.Open(f.Path())
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer dst.Close()
	s := shardWriter{src: src, dst: dst, progress: p}
	dataStart := st.Size() - dataEnd(f) // the format leaves nothing after the data
	for _, info := range f.Tensors() {
		write := of(info)
		if write == nil {
			continue
		}
		if err := s.copyTo(dataStart + info.Offset); err != nil {
			return err
		}
		if err := write(&s); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := s.copyTo(st.Size()); err != nil {
		return err
	}
	return errors.Join(dst.Sync(), dst.Close())
}

// shardWriter fills dst from src; at is where both stand.
type shardWriter struct {
	src, dst *os.File
	at       int64
	progress *written
}

// copyPiece is how much is copied between two reports and flushes.
const copyPiece = 64 << 20

// copyTo copies up to offset end inside the kernel where that can.
func (s *shardWriter) copyTo(end int64) error {
	if _, err := s.src.Seek(s.at, io.SeekStart); err != nil {
		return err
	}
	for s.at < end {
		n, err := io.CopyN(s.dst, s.src, min(copyPiece, end-s.at))
		s.flush(n)
		if err != nil {
			return fmt.Errorf("copy %s: %w", s.src.Name(), err)
		}
	}
	return nil
}

// flush notes n written bytes and lets the disk begin with them, so that the
// final sync has little left to do.
func (s *shardWriter) flush(n int64) {
	startWriteback(s.dst, s.at, n)
	s.at += n
	s.progress.add(n)
}

// writePiece is how many elements of a changed tensor are held at once.
const writePiece = 1 << 18

// writeTensor encodes the effective values of one tensor in pieces of rows.
func (s *shardWriter) writeTensor(v *Variant, info safetensors.Info) error {
	e, err := v.effective(info.Name)
	if err != nil {
		return err
	}
	if info.Size == 0 {
		return nil
	}
	count := elements(info.Shape)
	rows := max(1, writePiece/e.cols)
	values := make([]float32, min(rows*e.cols, count))
	raw := make([]byte, int(info.Size)/count*len(values))
	for first := 0; first < count; first += len(values) {
		values = values[:min(len(values), count-first)]
		raw = raw[:int(info.Size)/count*len(values)]
		if err := e.read(values, first/e.cols); err != nil {
			return err
		}
		if err := finite(info.Name, values, first); err != nil {
			return err
		}
		if err := safetensors.Encode(raw, info.DType, values); err != nil {
			return fmt.Errorf("tensor %q: %w", info.Name, err)
		}
		n, err := s.dst.Write(raw)
		s.flush(int64(n))
		if err != nil {
			return err
		}
	}
	return nil
}

// isCompanion tells the files that belong to a checkpoint beside its weights:
// configs, tokenizers, chat templates, licences. Never pickles, never weights.
func isCompanion(name string) bool {
	if strings.HasPrefix(name, ".") || name == safetensors.IndexName || name == variantName ||
		strings.HasSuffix(name, ".index.json") {
		return false
	}
	upper := strings.ToUpper(name)
	for _, prefix := range []string{"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	return slices.Contains([]string{".json", ".jinja", ".model", ".txt"}, filepath.Ext(name))
}

// companions lists the files of dir that belong to a checkpoint beside its
// weights, in order of their names.
func companions(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		// Hub caches hold links to files, so ask what the name leads to.
		if st, err := os.Stat(filepath.Join(dir, e.Name())); isCompanion(e.Name()) && err == nil && st.Mode().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func copyFiles(from, to string, names []string) error {
	for _, name := range names {
		if err := copyFile(from, to, name); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to, name string) error {
	src, err := os.Open(filepath.Join(from, name))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(filepath.Join(to, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return errors.Join(fmt.Errorf("copy %s: %w", name, err), dst.Close())
	}
	return errors.Join(dst.Sync(), dst.Close())
}

// writeFiles puts small files into dir.
func writeFiles(dir string, files map[string][]byte) error {
	for name, data := range files {
		if name != filepath.Base(name) || name == "." || name == ".." || strings.HasSuffix(name, ".safetensors") || name == safetensors.IndexName {
			return fmt.Errorf("%q can't be an extra file of a checkpoint: want a plain name that is no weight file", name)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			return err
		}
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return nil
}
