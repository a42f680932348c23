package hub

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// goldenCase repeats what an official client did in some scenarios.
type goldenCase struct {
	file, scenario string
	token          string
	run            func(context.Context, *hf) error
	fails          error
	leaves         []string // recorded requests this client has no need for, by method and a part of the path
}

// like makes a file that stands for a recorded one of that size, of which only the first bytes are known.
func like(size int, seed byte) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i>>8) ^ byte(i) ^ seed
	}
	return data
}

func unbase64(s string) []byte {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return data
}

var (
	jsRepo      = Address{Scheme: "hf", Kind: Model, Repo: "alice/gen-1"}
	pyRepo      = Address{Scheme: "hf", Kind: Model, Repo: "alice/py-1"}
	jsAdapter   = like(11534336, 1)
	jsShard     = like(31469625, 2)
	pyAdapter   = like(11534336, 3)
	pyShard     = like(31458057, 4)
	card        = []byte("---\nlicense: llama3.2\nbase_model: meta-llama/Llama-3.2-1B\n---\n# x\n")
	pyCard      = []byte("---\nlicense: llama3.2\nbase_model: meta-llama/Llama-3.2-1B\n---\n# Llama-x\nBuilt with Llama\n")
	config      = []byte(`{"architectures":["LlamaForCausalLM"]}`)
	attributes  = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
	pyModel     = unbase64("cAAAAAAAAAB7Il9fbWV0YWRhdGFfXyI6IHsiZm9ybWF0IjogInB0In0sICJhLndlaWdodCI6IHsiZHR5cGUiOiAiQkYxNiIsICJzaGFwZSI6IFsyLCA0XSwgImRhdGFfb2Zmc2V0cyI6IFswLCAxNl19fSAgICAgAAAAAAAAAAAAAAAAAAAAAA==")
	pyFiles     = []File{{Path: "README.md", Data: pyCard}, {Path: "adapter_model.safetensors", Data: pyAdapter}, {Path: "config.json", Data: config}, {Path: "model-00001-of-00001.safetensors", Data: pyShard}, {Path: "model.safetensors", Data: pyModel}, {Path: "sub/empty.txt"}}
	jsMultipart = []File{{Path: "model-00001-of-00001.safetensors", Data: jsShard}, {Path: "README.md", Data: card}, {Path: "sub/dir/a b+ü.json", Data: []byte("{}")}}
)

func (a Address) at(revision string) Address { a.Revision = revision; return a }

func pushing(a Address, c Commit) func(context.Context, *hf) error {
	return func(ctx context.Context, h *hf) error {
		_, err := h.Push(ctx, a, c)
		return err
	}
}

func pulling(a Address, o PullOptions) func(context.Context, *hf) error {
	return func(ctx context.Context, h *hf) error {
		_, err := h.Pull(ctx, a, o)
		return err
	}
}

func one(name, data string) []File { return []File{{Path: name, Data: []byte(data)}} }

func goldenCases() []goldenCase {
	whoami := func(ctx context.Context, h *hf) error {
		u, err := h.WhoAmI(ctx)
		if err == nil && (u.Name != "alice" || u.Role != "write" || u.Token != "test") {
			return fmt.Errorf("whoami gives %+v", u)
		}
		return err
	}
	create := func(repo string, o CreateOptions) func(context.Context, *hf) error {
		return func(ctx context.Context, h *hf) error {
			return h.Create(ctx, Address{Scheme: "hf", Kind: Model, Repo: repo}, o)
		}
	}
	list := func(a Address, recursive bool, n int) func(context.Context, *hf) error {
		return func(ctx context.Context, h *hf) error {
			entries, err := h.List(ctx, a, recursive)
			if err == nil && len(entries) != n {
				return fmt.Errorf("%d entries, expected %d", len(entries), n)
			}
			return err
		}
	}
	info := func(a Address) func(context.Context, *hf) error {
		return func(ctx context.Context, h *hf) error { _, err := h.Info(ctx, a); return err }
	}
	probes := []string{"GET /resolve/", "POST /paths-info/"} // bytes=0-0 before every download; the tree has sizes and hashes
	download := func(a Address, name, commit string, data []byte) func(context.Context, *hf) error {
		return func(ctx context.Context, h *hf) error {
			e := Entry{Path: name, Size: int64(len(data))}
			hash := e.hash()
			hash.Write(data)
			e.OID = hex.EncodeToString(hash.Sum(nil))
			src := h.source(a, "main", e)
			src.commit = commit
			answer, err := src.get(ctx, 0, e.Size)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if got, err := io.ReadAll(answer.Body); err != nil || !bytes.Equal(got, data) {
				return fmt.Errorf("got %q, %v", got, err)
			}
			return nil
		}
	}
	tjs := Address{Scheme: "hf", Kind: Model, Repo: "alice/tjs"}
	tjsConfig := []byte(`{"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":4}`)
	return []goldenCase{
		{"js-lfs", "whoami", "hf_test", whoami, nil, nil},
		{"js-lfs", "whoami-bad-token", "hf_bad", whoami, ErrUnauthorized, nil},
		{"js-lfs", "createRepo", "hf_test", create("alice/gen-1", CreateOptions{}), nil, nil},
		{"js-lfs", "uploadFile-regular", "hf_test", pushing(jsRepo, Commit{Message: "add config", Files: []File{{Path: "config.json", Data: config}}}), nil, nil},
		{"js-lfs", "uploadFile-lfs-11MiB", "hf_test", pushing(jsRepo, Commit{Files: []File{{Path: "adapter_model.safetensors", Data: jsAdapter}}}), nil, nil},
		{"js-lfs", "uploadFiles-lfs-multipart-30MiB+card", "hf_test", pushing(jsRepo, Commit{Message: "shards", Description: "desc", Files: jsMultipart}), nil, nil},
		{"js-lfs", "uploadFile-lfs-dedup", "hf_test", pushing(jsRepo, Commit{Files: []File{{Path: "copy.safetensors", Data: jsAdapter}}}), nil, nil},
		{"js-lfs", "commit-conflict-412", "hf_test", pushing(jsRepo, Commit{Message: "stale", Parent: "3f1a89dacb03a99996355febe29ca572586148a2", Files: one("x.txt", "x")}), ErrConflict, nil},
		{"js-lfs", "createBranch", "hf_test", func(ctx context.Context, h *hf) error { return h.CreateBranch(ctx, jsRepo.at("exp/one"), "") }, nil, nil},
		{"js-lfs", "uploadFile-branch-slash", "hf_test", pushing(jsRepo.at("exp/one"), Commit{Files: one("b.txt", "b")}), nil, nil},
		{"js-lfs", "uploadFile-pr", "hf_test", pushing(jsRepo, Commit{CreatePR: true, Files: one("pr.txt", "pr")}), nil, nil},
		{"js-lfs", "uploadFile-pr-ref", "hf_test", pushing(jsRepo.at("refs/pr/1"), Commit{Files: one("pr2.txt", "pr2")}), nil, nil},
		{"js-lfs", "deleteBranch", "hf_test", func(ctx context.Context, h *hf) error { return h.DeleteBranch(ctx, jsRepo.at("exp/one")) }, nil, nil},
		{"js-lfs", "listFiles-recursive", "hf_test", list(jsRepo, true, 8), nil, nil},
		{"js-lfs", "listCommits", "hf_test", func(ctx context.Context, h *hf) error {
			commits, err := h.Commits(ctx, jsRepo, 0)
			if err == nil && (len(commits) != 6 || commits[2].Title != "shards" || commits[2].Message != "desc") {
				return fmt.Errorf("commits are %+v", commits)
			}
			return err
		}, nil, nil},
		{"js-lfs", "snapshotDownload", "hf_test", pulling(jsRepo, PullOptions{}), nil, append(probes, "GET /__s3/")},
		{"js-lfs", "checkRepoAccess-private-anon", "", info(Address{Scheme: "hf", Kind: Dataset, Repo: "alice/gen-1-ds"}), ErrRepoNotFound, nil},
		{"js-lfs", "createRepo-conflict", "hf_test", create("alice/gen-1", CreateOptions{}), ErrExists, nil},
		{"js-lfs", "createRepo-conflict", "hf_test", create("alice/gen-1", CreateOptions{ExistOK: true}), nil, nil},
		{"js-lfs", "createRepo-other-ns", "hf_test", create("zed/x", CreateOptions{}), ErrForbidden, nil},
		{"js-lfs", "repoExists-missing", "hf_test", info(Address{Scheme: "hf", Kind: Model, Repo: "alice/none"}), ErrRepoNotFound, nil},
		{"js-lfs", "modelInfo", "hf_test", info(jsRepo.at("HEAD")), nil, nil},
		{"js-lfs", "downloadFile-unicode", "hf_test", download(jsRepo, "sub/dir/a b+ü.json", "1f211b4713a51d5e1d80512185ed66777372593b", []byte("{}")), nil, probes[:1]},
		{"py-lfs", "create_repo", "hf_test", create("alice/py-1", CreateOptions{}), nil, nil},
		{"py-lfs", "create_repo-exist_ok", "hf_test", create("alice/py-1", CreateOptions{ExistOK: true}), nil, nil},
		{"py-lfs", "gated-anon", "", download(pyRepo, "config.json", "", nil), ErrGated, nil},
		{"py-lfs", "gated-other", "hf_other", download(pyRepo, "config.json", "", nil), ErrGated, nil},
		{"py-lfs", "delete_repo", "hf_test", func(ctx context.Context, h *hf) error { return h.Delete(ctx, pyRepo) }, nil, nil},
		{"tjs", "tjs-config", "", download(tjs, "config.json", "d7ab044fde3a75ed338388ac6c080e835834d3d9", tjsConfig), nil, nil},
		{"js-lfs", "upload-readonly-token", "hf_read", pushing(jsRepo, Commit{Files: one("z", "z")}), ErrForbidden, nil},
		{"js-lfs", "deleteRepo", "hf_test", func(ctx context.Context, h *hf) error {
			return h.Delete(ctx, Address{Scheme: "hf", Kind: Dataset, Repo: "alice/gen-1-ds"})
		}, nil, nil},
		{"py-lfs", "whoami", "hf_test", whoami, nil, nil},
		{"py-lfs", "bad-token", "hf_bad", whoami, ErrUnauthorized, nil},
		{"py-lfs", "upload_file-regular", "hf_test", func(ctx context.Context, h *hf) error {
			err := pushing(pyRepo, Commit{Message: "Upload config.json with huggingface_hub", Files: one("config.json", `{"a":1}`)})(ctx, h)
			return errors.Join(err, info(pyRepo)(ctx, h))
		}, nil, nil},
		{"py-lfs", "upload_folder", "hf_test", pushing(pyRepo, Commit{Message: "Upload gen", Files: pyFiles}), nil, []string{"POST /validate-yaml"}},
		{"py-lfs", "upload_folder-noop", "hf_test", pushing(pyRepo, Commit{Message: "Upload gen", Files: pyFiles}), nil, []string{"POST /validate-yaml", "POST /objects/batch", "GET /revision/main"}},
		{"py-lfs", "commit-conflict", "hf_test", pushing(pyRepo, Commit{Message: "stale", Parent: "d255c1c35382b3724af9f307458aa96b7e5e1085", Files: one("x.txt", "x")}), ErrConflict, nil},
		{"py-lfs", "create_branch", "hf_test", func(ctx context.Context, h *hf) error { return h.CreateBranch(ctx, pyRepo.at("exp/one"), "") }, nil, nil},
		{"py-lfs", "list_repo_refs", "hf_test", func(ctx context.Context, h *hf) error {
			refs, err := h.Refs(ctx, pyRepo)
			if err == nil && (len(refs) != 3 || refs[1].Name != "exp/one" || refs[2].Kind != "tag") {
				return fmt.Errorf("refs are %+v", refs)
			}
			return err
		}, nil, nil},
		{"py-lfs", "create_pr", "hf_test", pushing(pyRepo, Commit{Message: "Upload pr.txt with huggingface_hub", CreatePR: true, Files: one("pr.txt", "pr")}), nil, nil},
		{"py-lfs", "snapshot_download", "hf_test", pulling(pyRepo, PullOptions{Exclude: []string{"copy.*", "model-*"}}), nil, []string{"GET /__s3/", "HEAD /resolve/", "GET /resolve/"}},
	}
}
