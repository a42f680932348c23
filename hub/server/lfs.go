package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"d2nwg/hub/internal/names"
)

// Limits of LFS.
const (
	maxObject    = 1 << 40 // bytes of a content
	maxParts     = 10_000  // of an upload
	maxBatch     = 1000    // objects asked about at once
	uploadLife   = 24 * time.Hour
	downloadLife = time.Hour
)

// object names an LFS content.
type object struct {
	OID  string `json:"oid"`
	Size int64  `json:"size"`
}

// lfsBatch tells where contents can be brought to or had from. One that this repository has already needs no upload; that
// another one has it counts for nothing, or knowing a hash would be enough to get at a private content.
func (q *request) lfsBatch() error {
	var body struct {
		Operation string
		Transfers []string
		Objects   []object
	}
	if err := q.decode(&body); err != nil {
		return err
	}
	upload := body.Operation == "upload"
	want := fetch
	if upload {
		want = propose
	} else if body.Operation != "download" {
		return badRequest("The operation is upload or download")
	}
	if err := q.permit(q.repo, want); err != nil {
		return err
	}
	if len(body.Objects) > maxBatch {
		return failf(http.StatusRequestEntityTooLarge, "At most %d objects may be asked about at once", maxBatch)
	}
	transfer := "basic"
	if upload && slices.Contains(body.Transfers, "multipart") {
		transfer = "multipart"
	}
	list := []map[string]any{}
	for _, o := range body.Objects {
		item := map[string]any{"oid": o.OID, "size": o.Size}
		size, known := q.repo.object(o.OID)
		switch {
		case !names.SHA256(o.OID) || o.Size < 0 || o.Size > maxObject || known && size != o.Size:
			item["error"] = map[string]any{"code": http.StatusUnprocessableEntity, "message": "This is no SHA-256 with its content's size"}
		case upload && !known:
			item["actions"] = q.uploadActions(o, transfer == "multipart")
		case !upload && !known:
			item["error"] = map[string]any{"code": http.StatusNotFound, "message": "This repository has no such content"}
		case !upload:
			item["actions"] = map[string]any{"download": map[string]any{"href": q.link("get", o.OID, url.Values{}, downloadLife), "expires_in": int(downloadLife.Seconds())}}
		}
		list = append(list, item)
	}
	q.w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	return q.answer(http.StatusOK, map[string]any{"transfer": transfer, "objects": list})
}

// uploadActions are the links for an upload in one piece, or in parts where it is large and the client can do that.
func (q *request) uploadActions(o object, parts bool) map[string]any {
	about := url.Values{"repo": {q.repo.kind + "s/" + q.repo.name}, "size": {fmt.Sprint(o.Size)}}
	verify := map[string]any{"href": q.link("verify", o.OID, about, uploadLife)}
	upload := map[string]any{"expires_in": int(uploadLife.Seconds())}
	if !parts || o.Size <= q.s.options.MultipartOver {
		upload["href"] = q.link("put", o.OID, about, uploadLife)
		return map[string]any{"upload": upload, "verify": verify}
	}
	piece := max(q.s.options.PartSize, (o.Size+maxParts-1)/maxParts)
	about.Set("piece", fmt.Sprint(piece))
	about.Set("upload", newID())
	upload["href"] = q.link("complete", o.OID, about, uploadLife)
	header := map[string]string{"chunk_size": fmt.Sprint(piece)}
	for n := int64(1); n <= (o.Size+piece-1)/piece; n++ {
		about.Set("part", fmt.Sprint(n))
		header[fmt.Sprintf("%05d", n)] = q.link("part", o.OID, about, uploadLife)
	}
	upload["header"] = header
	return map[string]any{"upload": upload, "verify": verify}
}

// link makes an address that lets whoever has it do one thing with one content, for some time.
func (q *request) link(action, sum string, about url.Values, life time.Duration) string {
	v := url.Values{"expires": {fmt.Sprint(time.Now().Add(life).Unix())}}
	for k := range about {
		v.Set(k, about.Get(k))
	}
	v.Set("signature", q.s.sign(action, sum, v))
	return fmt.Sprintf("%s/-/%s/%s?%s", q.base(), action, sum, v.Encode())
}

// sign is the signature of a link's action, content and parameters.
func (s *Server) sign(action, sum string, v url.Values) string {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%s\n%s\n%s", action, sum, v.Encode()) // Encode sorts and escapes
	return hex.EncodeToString(mac.Sum(nil))
}

// signed answers a link that link made.
func (q *request) signed(parts []string) error {
	if len(parts) != 2 || !names.SHA256(parts[1]) {
		return errNoPage
	}
	action, sum := parts[0], parts[1]
	given := q.query.Get("signature")
	q.query.Del("signature")
	expires, _ := strconv.ParseInt(q.query.Get("expires"), 10, 64)
	if !hmac.Equal([]byte(given), []byte(q.s.sign(action, sum, q.query))) || time.Now().Unix() > expires {
		return failf(http.StatusForbidden, "This link is not, or no longer, valid")
	}
	if action == "get" && (q.r.Method == http.MethodGet || q.r.Method == http.MethodHead) {
		h := q.w.Header()
		h.Set("ETag", `"`+sum+`"`)
		h.Set("Content-Type", "application/octet-stream")
		return q.content(sum)
	}
	word, name, _ := strings.Cut(q.query.Get("repo"), "/")
	if q.repo = q.s.repo(kinds[word], name); q.repo == nil {
		return errRepoNotFound
	}
	size, _ := strconv.ParseInt(q.query.Get("size"), 10, 64) // signed, so it is a number
	o := object{sum, size}
	switch q.r.Method + " " + action {
	case "PUT put":
		return q.putObject(o)
	case "PUT part":
		return q.putPart(o)
	case "POST complete":
		return q.complete(o)
	case "POST verify":
		return q.verify(o)
	}
	return errNoPage
}

// putObject takes a content in one piece.
func (q *request) putObject(o object) error {
	if err := q.take(o, q.r.Body, q.r.ContentLength); err != nil {
		return err
	}
	q.w.Header().Set("ETag", `"`+o.OID+`"`)
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// take stores a content and remembers that this repository has it.
func (q *request) take(o object, body io.Reader, announced int64) error {
	if announced >= 0 && announced != o.Size {
		return badRequest("The content of %s has %d bytes instead of %d", o.OID, announced, o.Size)
	}
	b := q.s.store.batch()
	if err := b.receive(body, o.OID, o.Size); err != nil {
		return uploadError(err)
	}
	if err := b.sync(); err != nil {
		return err
	}
	return q.repo.addObject(o.OID, o.Size)
}

// uploadError tells apart a body that broke off from trouble of this server's own.
func uploadError(err error) error {
	var f *failure
	var file *fs.PathError
	if errors.As(err, &f) || errors.As(err, &file) {
		return err
	}
	return bodyError(err)
}

// putPart takes one part of a content. It is kept under its number and hash, which is also its ETag.
func (q *request) putPart(o object) error {
	piece, _ := strconv.ParseInt(q.query.Get("piece"), 10, 64) // signed, so these are numbers
	part, _ := strconv.ParseInt(q.query.Get("part"), 10, 64)
	size := min(piece, o.Size-(part-1)*piece)
	if n := q.r.ContentLength; n >= 0 && n != size {
		return badRequest("Part %d has %d bytes instead of %d", part, n, size)
	}
	dir := q.s.uploads(q.query.Get("upload"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "part-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all goes well
	defer f.Close()
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, hash), io.LimitReader(q.r.Body, size+1), make([]byte, 256<<10))
	if err != nil {
		return uploadError(err)
	}
	if n != size {
		return badRequest("Part %d has not the %d bytes it should have", part, size)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if err := os.Rename(f.Name(), partName(dir, int(part), sum)); err != nil {
		return err
	}
	q.w.Header().Set("ETag", `"`+sum+`"`)
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func partName(dir string, part int, sum string) string {
	return filepath.Join(dir, fmt.Sprintf("%05d-%s", part, sum))
}

// complete puts an upload's parts together.
func (q *request) complete(o object) error {
	var body struct {
		Parts []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := q.decode(&body); err != nil {
		return err
	}
	answer := map[string]any{"oid": o.OID}
	if _, known := q.repo.object(o.OID); known {
		return q.answer(http.StatusOK, answer) // a repeated request, or somebody else was faster
	}
	piece, _ := strconv.ParseInt(q.query.Get("piece"), 10, 64)
	if int64(len(body.Parts)) != (o.Size+piece-1)/piece {
		return badRequest("The upload has %d parts, not %d", (o.Size+piece-1)/piece, len(body.Parts))
	}
	dir := q.s.uploads(q.query.Get("upload"))
	parts := &chain{}
	defer parts.Close()
	for i, part := range body.Parts {
		sum := strings.Trim(part.ETag, `"`)
		if part.PartNumber != i+1 || !names.SHA256(sum) {
			return badRequest("The parts are numbered from 1 and have the ETags their uploads were answered with")
		}
		parts.paths = append(parts.paths, partName(dir, i+1, sum))
		if _, err := os.Stat(parts.paths[i]); err != nil {
			return badRequest("Part %d was not uploaded; begin the upload anew", i+1)
		}
	}
	if err := q.take(o, parts, -1); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return q.answer(http.StatusOK, answer)
}

// chain reads files one after the other.
type chain struct {
	paths []string
	file  *os.File
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.file == nil {
			if len(c.paths) == 0 {
				return 0, io.EOF
			}
			var err error
			if c.file, err = os.Open(c.paths[0]); err != nil {
				return 0, err
			}
			c.paths = c.paths[1:]
		}
		n, err := c.file.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		c.Close()
	}
}

func (c *chain) Close() {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

// verify tells whether an upload has arrived.
func (q *request) verify(o object) error {
	var body object
	if err := q.decode(&body); err != nil {
		return err
	}
	if size, known := q.repo.object(o.OID); body != o || !known || size != o.Size {
		return failf(http.StatusNotFound, "This content has not been uploaded")
	}
	return q.done()
}

// expireUploads clears away the parts of uploads whose links have expired.
func (s *Server) expireUploads() error {
	list, err := os.ReadDir(s.uploads(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, d := range list {
		info, err := d.Info()
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) > uploadLife {
			if err := os.RemoveAll(s.uploads(d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
