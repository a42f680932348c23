package main

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// hubClients is the folder that .ci/deps-hub brings the official JavaScript clients into; "" where they or Node lack.
func hubClients() string {
	dir, err := filepath.Abs(filepath.Join("..", "..", ".deps", "hub"))
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@huggingface", "hub")); err != nil {
		return ""
	}
	if _, err := exec.LookPath("node"); err != nil {
		return ""
	}
	return dir
}

// parseJS parses the headers of a repository's safetensors files over HTTP, with the official client's parser.
const parseJS = `
import { parseSafetensorsMetadata } from "@huggingface/hub";
const [hubUrl, accessToken, repo, path] = process.argv.slice(1);
const m = await parseSafetensorsMetadata({ repo, path, hubUrl, accessToken, computeParametersCount: true });
const headers = m.sharded ? Object.values(m.headers) : [m.header];
const names = headers.flatMap((h) => Object.keys(h).filter((k) => k !== "__metadata__"));
const parameters = Object.values(m.parameterCount).reduce((a, b) => a + b, 0);
console.log(JSON.stringify({ sharded: m.sharded, tensors: names.length, parameters }));
`

// scriptSafetensors parses the weights of a repository on the scripts' hub: safetensors TOKEN REPO [FILE]. The condition
// [hubclient] tells whether it can.
func scriptSafetensors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: safetensors TOKEN REPO [FILE]")
	}
	ts.Check(ts.Chdir(hubClients()))
	ts.Check(ts.Exec("node", append([]string{"--input-type=module", "-e", parseJS, ts.Getenv("HF_ENDPOINT")}, args...)...))
	ts.Check(ts.Chdir(ts.Getenv("WORK")))
}
