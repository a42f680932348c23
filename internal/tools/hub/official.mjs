// Lets the official clients, unmodified, use a hub: every repository call of @huggingface/hub, and transformers.js loading
// a configuration and a tokenizer. Run where the packages are (.deps/hub), with the hub's address:
//
//	node --input-type=module - URL < official.mjs
//
// The hub knows alice (hf_test writes, hf_read reads) and bob (hf_other writes). Prints one line a check; exit code 1 if
// one failed.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as hub from "@huggingface/hub";

const hubUrl = process.argv[2];
const alice = { hubUrl, accessToken: "hf_test" };
const bob = { hubUrl, accessToken: "hf_other" };
const reader = { hubUrl, accessToken: "hf_read" };
const nobody = { hubUrl };

let done = 0, failed = 0;
async function check(name, body) {
  const start = performance.now();
  try {
    await body();
    done++;
    console.log(`ok ${name} (${Math.round(performance.now() - start)} ms)`);
  } catch (err) {
    failed++;
    console.log(`FAIL ${name}: ${err.stack}`);
  }
}

// refused expects an error of the hub with that status, and its X-Error-Code where the call shows the response.
async function refused(promise, status, message) {
  await assert.rejects(promise, (err) => {
    assert.equal(err.statusCode, status, err.message);
    if (message) assert.match(err.message, message);
    assert.ok(err.requestId, "no X-Request-Id");
    return true;
  });
}

async function codeOf(path, status, code, token) {
  const res = await fetch(hubUrl + path, { redirect: "manual", headers: token ? { Authorization: `Bearer ${token}` } : {} });
  await res.arrayBuffer();
  assert.equal(res.status, status, path);
  assert.equal(res.headers.get("X-Error-Code"), code, path);
}

async function all(generator) {
  const items = [];
  for await (const item of generator) items.push(item);
  return items;
}

function noise(size, seed) {
  const data = new Uint8Array(size);
  let x = seed;
  for (let i = 0; i < size; i += 7) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    data[i] = x >>> 24;
  }
  return data;
}

const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const gitBlob = (data) => createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");
const text = async (blob) => (blob ? await blob.text() : null);
const add = (path, content) => ({ operation: "addOrUpdate", path, content: content instanceof Blob ? content : new Blob([content]) });

const card = `---
license: llama3.2
base_model: meta-llama/Llama-3.2-1B
pipeline_tag: text-generation
tags: [generated]
---
# A card
`;

await check("whoAmI", async () => {
  const me = await hub.whoAmI(alice);
  assert.equal(me.name, "alice");
  assert.equal(me.type, "user");
  assert.equal(me.auth.accessToken.role, "write");
  assert.ok(me.auth.accessToken.createdAt instanceof Date);
  assert.equal((await hub.whoAmI(reader)).auth.accessToken.role, "read");
});

await check("a bad token", async () => {
  await refused(hub.whoAmI({ hubUrl, accessToken: "hf_bad" }), 401, /Invalid username or password/);
  await refused(hub.createRepo({ hubUrl, accessToken: "hf_bad", repo: "alice/never" }), 401);
});

for (const type of ["model", "dataset", "space"]) {
  const name = `alice/official-${type}`;
  const repo = { type, name };
  const page = (type === "model" ? "/" : `/${type}s/`) + name;
  const title = (what) => `${type}: ${what}`;

  await check(title("create"), async () => {
    assert.equal(await hub.repoExists({ ...alice, repo }), false);
    const made = await hub.createRepo({ ...alice, repo, visibility: "public", files: [{ path: "README.md", content: new Blob([card]) }] });
    assert.equal(made.repoUrl, hubUrl + page);
    assert.match(made.id, /^[0-9a-f]{24}$/);
    assert.equal(await hub.repoExists({ ...alice, repo }), true);
    assert.equal(await hub.repoExists({ ...nobody, repo }), true);
    await hub.checkRepoAccess({ ...nobody, repo });
  });

  await check(title("create what is there, or elsewhere"), async () => {
    await refused(hub.createRepo({ ...alice, repo }), 409, /already created/);
    await refused(hub.createRepo({ ...bob, repo: { type, name: "alice/bobs" } }), 403, /rights to create/);
    await refused(hub.createRepo({ ...reader, repo: { type, name: "alice/readers" } }), 403);
    await refused(hub.createRepo({ ...alice, repo: { type, name: "alice/.." } }), 400);
    await refused(hub.createRepo({ ...alice, repo: { type, name: "alice/a--b" } }), 400);
  });

  const small = new TextEncoder().encode('{"architectures":["LlamaForCausalLM"]}');
  const tensor = noise(1000, 3), large = noise(25_000_000, 1), parts = noise(41_000_001, 2);
  let first;

  await check(title("small files in one commit"), async () => {
    const made = await hub.commit({
      ...alice, repo, title: "small files", description: "of two kinds",
      operations: [add("config.json", small), add("empty.txt", ""), add("sub/dir/a b+ü.json", "{}"), add("tiny.safetensors", tensor)],
    });
    assert.match(made.commit.oid, /^[0-9a-f]{40}$/);
    assert.equal(made.commit.url, `${hubUrl}${page}/commit/${made.commit.oid}`);
    first = made.commit.oid;
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "config.json" })), new TextDecoder().decode(small));
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "empty.txt" })), "");
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "sub/dir/a b+ü.json" })), "{}");
    const blob = await hub.downloadFile({ ...nobody, repo, path: "tiny.safetensors" });
    assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), sha256(tensor));
  });

  await check(title("25 MB in one piece, 41 MB in parts"), async () => {
    const seen = [];
    const watch = (url, init) => {
      if (init?.method === "PUT") seen.push(new URL(url).pathname.split("/")[2]);
      return fetch(url, init);
    };
    await hub.commit({ ...alice, fetch: watch, repo, title: "large files", operations: [add("large.safetensors", large), add("parts.safetensors", parts)] });
    assert.deepEqual(seen.sort(), ["part", "part", "part", "part", "part", "put"]);
    for (const [path, data] of [["large.safetensors", large], ["parts.safetensors", parts]]) {
      const blob = await hub.downloadFile({ ...nobody, repo, path });
      assert.equal(blob.size, data.length);
      assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), sha256(data));
    }
    const blob = await hub.downloadFile({ ...nobody, repo, path: "parts.safetensors" });
    const middle = Buffer.from(await blob.slice(1_000_000, 1_000_100).arrayBuffer());
    assert.equal(Buffer.compare(middle, Buffer.from(parts.slice(1_000_000, 1_000_100))), 0);
  });

  await check(title("upload what is there already"), async () => {
    let puts = 0;
    const watch = (url, init) => {
      puts += init?.method === "PUT";
      return fetch(url, init);
    };
    await hub.uploadFile({ ...alice, fetch: watch, repo, file: { path: "copy.safetensors", content: new Blob([large]) } });
    assert.equal(puts, 0);
  });

  await check(title("uploadFiles with progress"), async () => {
    const events = await all(hub.uploadFilesWithProgress({ ...alice, repo, files: [{ path: "progress.txt", content: new Blob(["p"]) }] }));
    assert.ok(events.some((e) => e.phase === "committing"));
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "progress.txt" })), "p");
  });

  await check(title("download information"), async () => {
    const regular = await hub.fileDownloadInfo({ ...nobody, repo, path: "config.json" });
    assert.equal(regular.size, small.length);
    assert.equal(regular.etag, `"${gitBlob(small)}"`);
    const lfs = await hub.fileDownloadInfo({ ...nobody, repo, path: "large.safetensors" });
    assert.equal(lfs.size, large.length);
    assert.equal(lfs.etag, `"${sha256(large)}"`);
    assert.equal(await hub.fileDownloadInfo({ ...nobody, repo, path: "missing.bin" }), null);
    assert.equal(await hub.downloadFile({ ...nobody, repo, path: "missing.bin" }), null);
    await refused(hub.fileDownloadInfo({ ...nobody, repo, path: "config.json", revision: "nope" }), 404, /Invalid rev id: nope/);
  });

  await check(title("raw pointers"), async () => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256(large)}\nsize ${large.length}\n`;
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "large.safetensors", raw: true })), pointer);
    const info = await hub.fileDownloadInfo({ ...nobody, repo, path: "large.safetensors", raw: true });
    assert.equal(info.etag, `"${gitBlob(Buffer.from(pointer))}"`);
    assert.equal(await hub.fileExists({ ...nobody, repo, path: "large.safetensors" }), true);
    assert.equal(await hub.fileExists({ ...nobody, repo, path: "sub" }), false);
    assert.equal(await hub.fileExists({ ...nobody, repo, path: "missing" }), false);
  });

  await check(title("list files"), async () => {
    const flat = await all(hub.listFiles({ ...nobody, repo }));
    assert.deepEqual(flat.map((f) => f.path).sort(), [".gitattributes", "README.md", "config.json", "copy.safetensors", "empty.txt",
      "large.safetensors", "parts.safetensors", "progress.txt", "sub", "tiny.safetensors"]);
    assert.equal(flat.find((f) => f.path === "sub").type, "directory");
    const deep = await all(hub.listFiles({ ...nobody, repo, recursive: true, expand: true }));
    assert.deepEqual(deep.filter((f) => f.path.startsWith("sub")).map((f) => [f.path, f.type]), [["sub", "directory"], ["sub/dir", "directory"], ["sub/dir/a b+ü.json", "file"]]);
    const entry = deep.find((f) => f.path === "large.safetensors");
    assert.equal(entry.lfs.oid, sha256(large));
    assert.equal(entry.lfs.size, large.length);
    assert.equal(entry.size, large.length);
    assert.equal(entry.lastCommit.title, "large files");
    assert.equal(deep.find((f) => f.path === "sub/dir").lastCommit.id, first);
    const sub = await all(hub.listFiles({ ...nobody, repo, path: "sub/dir" }));
    assert.deepEqual(sub.map((f) => f.path), ["sub/dir/a b+ü.json"]);
    await refused(all(hub.listFiles({ ...nobody, repo, path: "absent" })), 404);
  });

  await check(title("paths-info, expanded and as a form"), async () => {
    const paths = ["config.json", "large.safetensors", "sub", "missing"];
    const infos = await hub.pathsInfo({ ...nobody, repo, paths, expand: true });
    assert.deepEqual(infos.map((i) => [i.path, i.type]), [["config.json", "file"], ["large.safetensors", "file"], ["sub", "directory"]]);
    assert.equal(infos[0].oid, gitBlob(small));
    assert.equal(infos[0].lastCommit.id, first);
    assert.ok(infos[0].lastCommit.date instanceof Date && !isNaN(infos[0].lastCommit.date));
    assert.equal(infos[0].securityFileStatus.status, "unscanned");
    assert.equal(infos[1].lfs.oid, sha256(large));
    const plain = await hub.pathsInfo({ ...nobody, repo, paths: ["config.json"], revision: first });
    assert.equal(plain[0].lastCommit, undefined);
    const form = new URLSearchParams(paths.map((p) => ["paths", p]));
    form.append("expand", "false");
    const res = await fetch(`${hubUrl}/api/${type}s/${name}/paths-info/main`, { method: "POST", body: form });
    assert.deepEqual((await res.json()).map((i) => i.path), infos.map((i) => i.path));
  });

  await check(title("commits"), async () => {
    const commits = await all(hub.listCommits({ ...nobody, repo }));
    assert.deepEqual(commits.map((c) => c.title).slice(2), ["large files", "small files", "initial commit"]);
    assert.equal(commits[3].message, "of two kinds");
    assert.equal(commits[3].oid, first);
    assert.equal(commits[0].authors[0].username, "alice");
    assert.deepEqual((await all(hub.listCommits({ ...nobody, repo, batchSize: 2 }))).map((c) => c.oid), commits.map((c) => c.oid));
    assert.equal(await hub.countCommits({ ...nobody, repo }), commits.length);
    assert.equal(await hub.countCommits({ ...nobody, repo, revision: first }), 2);
  });

  await check(title("information and expand"), async () => {
    const info = { model: hub.modelInfo, dataset: hub.datasetInfo, space: hub.spaceInfo }[type];
    const fields = ["sha", "cardData", "author", "tags"];
    const got = await info({ ...nobody, name, additionalFields: fields });
    assert.equal(got.name, name);
    assert.equal(got.private, false);
    assert.equal(got.author, "alice");
    assert.equal(got.cardData.base_model, "meta-llama/Llama-3.2-1B");
    assert.ok(got.tags.includes("license:llama3.2") && got.tags.includes("generated"));
    assert.ok(Date.now() - got.updatedAt < 60_000);
    if (type === "model") {
      assert.equal(got.task, "text-generation");
      assert.equal(got.gated, false);
      assert.ok((await info({ ...nobody, name, additionalFields: ["filePaths"] })).filePaths.includes("sub/dir/a b+ü.json"));
    }
    assert.equal((await info({ ...nobody, name, revision: first, additionalFields: ["sha"] })).sha, first);
    await refused(info({ ...nobody, name, revision: "nope" }), 404);
  });

  await check(title("listings of repositories"), async () => {
    const list = { model: hub.listModels, dataset: hub.listDatasets, space: hub.listSpaces }[type];
    await hub.createRepo({ ...bob, repo: { type, name: `bob/${type}-1` } });
    await hub.createRepo({ ...bob, repo: { type, name: `bob/${type}-2` }, visibility: "private" });
    const names = async (params) => (await all(list(params))).map((r) => r.name).sort();
    assert.deepEqual(await names({ ...nobody }), [name, `bob/${type}-1`]);
    assert.deepEqual(await names({ ...bob, search: { owner: "bob" } }), [`bob/${type}-1`, `bob/${type}-2`]);
    assert.deepEqual(await names({ ...nobody, search: { query: "OFFICIAL" } }), [name]);
    assert.deepEqual(await names({ ...nobody, search: { tags: ["license:llama3.2"] } }), [name]);
    assert.equal((await all(list({ ...nobody, additionalFields: ["sha"] })))[0].sha.length, 40);
  });

  await check(title("a stale parent"), async () => {
    const attempt = (parentCommit) => hub.commit({ ...alice, repo, title: "late", parentCommit, operations: [add("x.txt", "x")] });
    await refused(attempt(first), 412, /A commit has happened since/);
    const [head] = await all(hub.listCommits({ ...nobody, repo }));
    await attempt(head.oid);
    await refused(attempt(head.oid), 412);
  });

  await check(title("branches"), async () => {
    await hub.createBranch({ ...alice, repo, branch: "exp/one" });
    await hub.createBranch({ ...alice, repo, branch: "old", revision: first });
    await hub.createBranch({ ...alice, repo, branch: "bare", empty: true });
    await refused(hub.createBranch({ ...alice, repo, branch: "old" }), 409);
    await hub.createBranch({ ...alice, repo, branch: "old", revision: "main", overwrite: true });
    await refused(hub.createBranch({ ...alice, repo, branch: "exp" }), 409);
    await refused(hub.createBranch({ ...alice, repo, branch: "../up" }), 400);
    await refused(hub.createBranch({ ...alice, repo, branch: "x", revision: "nope" }), 404);
    await refused(hub.createBranch({ ...bob, repo, branch: "bobs" }), 403);
    await hub.uploadFile({ ...alice, repo, branch: "exp/one", file: { path: "b.txt", content: new Blob(["b"]) } });
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "b.txt", revision: "exp/one" })), "b");
    assert.equal(await hub.downloadFile({ ...nobody, repo, path: "b.txt" }), null);
    assert.ok((await all(hub.listFiles({ ...nobody, repo, revision: "exp/one" }))).some((f) => f.path === "b.txt"));
    assert.equal((await all(hub.listFiles({ ...nobody, repo, revision: "exp/one", path: "sub/dir" }))).length, 1);
    assert.equal((await all(hub.listCommits({ ...nobody, repo, revision: "exp/one" })))[0].title, "Add b.txt");
    assert.deepEqual(await all(hub.listFiles({ ...nobody, repo, revision: "bare" })), []);
    await hub.deleteBranch({ ...alice, repo, branch: "exp/one" });
    await refused(hub.deleteBranch({ ...alice, repo, branch: "exp/one" }), 404);
    await refused(hub.deleteBranch({ ...alice, repo, branch: "main" }), 403);
    await refused(hub.uploadFile({ ...alice, repo, branch: "exp/one", file: { path: "b.txt", content: new Blob(["b"]) } }), 404);
  });

  await check(title("pull requests"), async () => {
    const made = await hub.uploadFile({ ...bob, repo, isPullRequest: true, file: { path: "pr.txt", content: new Blob(["from bob"]) } });
    assert.equal(made.pullRequestUrl, `${hubUrl}${page}/discussions/1`);
    assert.equal(await hub.downloadFile({ ...nobody, repo, path: "pr.txt" }), null);
    assert.equal(await text(await hub.downloadFile({ ...nobody, repo, path: "pr.txt", revision: "refs/pr/1" })), "from bob");
    await hub.uploadFile({ ...bob, repo, branch: "refs/pr/1", file: { path: "pr.safetensors", content: new Blob([noise(5000, 9)]) } });
    assert.equal((await all(hub.listCommits({ ...nobody, repo, revision: "refs/pr/1" })))[0].title, "Add pr.safetensors");
    assert.equal((await all(hub.listFiles({ ...nobody, repo, revision: "refs/pr/1", path: "sub" })))[0].path, "sub/dir");
    const second = await hub.commit({ ...alice, repo, isPullRequest: true, title: "second", operations: [add("pr2.txt", "2")] });
    assert.equal(second.pullRequestUrl, `${hubUrl}${page}/discussions/2`);
    await refused(hub.uploadFile({ ...bob, repo, file: { path: "no.txt", content: new Blob(["no"]) } }), 403);
    await refused(hub.uploadFile({ ...bob, repo, branch: "refs/pr/2", file: { path: "no.txt", content: new Blob(["no"]) } }), 403);
  });

  await check(title("edit and delete files"), async () => {
    await hub.commit({ ...alice, repo, title: "edit", operations: [{ operation: "edit", path: "config.json", originalContent: new Blob([small]), edits: [{ start: 0, end: 1, content: new Blob(['{"a":1,']) }] }] });
    assert.equal(JSON.parse(await text(await hub.downloadFile({ ...nobody, repo, path: "config.json" }))).a, 1);
    await hub.deleteFile({ ...alice, repo, path: "copy.safetensors" });
    await hub.deleteFiles({ ...alice, repo, paths: ["empty.txt", "progress.txt"] });
    await refused(hub.deleteFile({ ...alice, repo, path: "nope.txt" }), 404, /doesn't exist: nope.txt/);
    assert.equal(await hub.fileExists({ ...nobody, repo, path: "copy.safetensors" }), false);
    assert.equal(await hub.fileExists({ ...nobody, repo, path: "copy.safetensors", revision: "old" }), true);
    assert.deepEqual((await all(hub.listFiles({ ...nobody, repo }))).map((f) => f.path).filter((p) => /empty|progress/.test(p)), []);
  });

  await check(title("names that lead elsewhere"), async () => {
    for (const path of ["../up.txt", "/abs.txt", "a/../b", "c:\\x", "a\\b", "nul\0", ".git/config", "a//b"])
      await refused(hub.commit({ ...alice, repo, title: "bad", operations: [add(path, "x")] }), 400);
    await refused(hub.commit({ ...alice, repo, title: "both", operations: [add("config.json/x", "x")] }), 400);
  });

  await check(title("snapshot in the official cache"), async () => {
    const cacheDir = await mkdtemp(join(tmpdir(), "official-"));
    try {
      const path = await hub.snapshotDownload({ ...nobody, repo, cacheDir });
      const [head] = await all(hub.listCommits({ ...nobody, repo }));
      assert.equal(path, join(cacheDir, `${type}s--alice--official-${type}`, "snapshots", head.oid));
      assert.deepEqual((await readdir(path)).sort(), [".gitattributes", "README.md", "config.json", "large.safetensors", "parts.safetensors", "sub", "tiny.safetensors", "x.txt"]);
      assert.equal(sha256(await readFile(join(path, "parts.safetensors"))), sha256(parts));
      assert.match(await readlink(join(path, "large.safetensors")), new RegExp(sha256(large)));
    } finally {
      await rm(cacheDir, { recursive: true });
    }
  });

  await check(title("private"), async () => {
    const secret = { type, name: `alice/private-${type}` };
    const api = `/api/${type}s/${secret.name}`;
    await hub.createRepo({ ...alice, repo: secret, private: true, files: [{ path: "s.txt", content: new Blob(["s"]) }] });
    await refused(hub.checkRepoAccess({ ...nobody, repo: secret }), 401);
    await refused(hub.checkRepoAccess({ ...bob, repo: secret }), 404);
    await hub.checkRepoAccess({ ...reader, repo: secret });
    assert.equal(await hub.repoExists({ ...bob, repo: secret }), false);
    assert.equal(await text(await hub.downloadFile({ ...reader, repo: secret, path: "s.txt" })), "s");
    await refused(hub.uploadFile({ ...reader, repo: secret, file: { path: "r.txt", content: new Blob(["r"]) } }), 403, /read-only/);
    await codeOf(api, 401, "RepoNotFound");
    await codeOf(api, 404, "RepoNotFound", "hf_other");
    await codeOf(`/api/${type}s/alice/none`, 404, "RepoNotFound", "hf_other");
    await codeOf(`/api/${type}s/alice/none`, 401, "RepoNotFound");
    await codeOf(`/api/${type}s/alice/none`, 401, null, "hf_bad");
  });

  await check(title("error codes"), async () => {
    await codeOf(`${page}/resolve/main/none`, 404, "EntryNotFound");
    await codeOf(`${page}/resolve/main/sub`, 404, "EntryNotFound");
    await codeOf(`${page}/resolve/none/config.json`, 404, "RevisionNotFound");
    await codeOf(`${page}/raw/main/none`, 404, "EntryNotFound");
    await codeOf(`/api/${type}s/${name}/tree/main/none`, 404, "EntryNotFound");
    await codeOf(`/api/${type}s/${name}/revision/none`, 404, "RevisionNotFound");
    await codeOf(`/api/${type}s/${name}/commits/none`, 404, "RevisionNotFound");
  });

  await check(title("gated"), async () => {
    const settings = (body, token) => fetch(`${hubUrl}/api/${type}s/${name}/settings`, { method: "PUT", body: JSON.stringify(body), headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" } });
    assert.equal((await settings({ gated: "manual" }, "hf_other")).status, 403);
    assert.equal((await settings({ gated: "manual" }, "hf_test")).status, 200);
    if (type === "model") assert.equal((await hub.modelInfo({ ...nobody, name })).gated, "manual");
    await refused(hub.downloadFile({ ...nobody, repo, path: "config.json" }), 401, /restricted/);
    await refused(hub.downloadFile({ ...bob, repo, path: "config.json" }), 403, /restricted/);
    await codeOf(`${page}/resolve/main/large.safetensors`, 401, "GatedRepo");
    await codeOf(`${page}/resolve/main/config.json`, 403, "GatedRepo", "hf_other");
    assert.ok(await hub.downloadFile({ ...reader, repo, path: "config.json" }));
    assert.ok((await all(hub.listFiles({ ...nobody, repo }))).length > 0);
    const ask = await fetch(`${hubUrl}${page}/ask-access`, { method: "POST", headers: { Authorization: "Bearer hf_other" } });
    assert.equal(ask.status, 200);
    await refused(hub.downloadFile({ ...bob, repo, path: "config.json" }), 403);
    const grant = await fetch(`${hubUrl}/api/${type}s/${name}/user-access-request/grant`, { method: "POST", body: '{"user":"bob"}', headers: { Authorization: "Bearer hf_test" } });
    assert.equal(grant.status, 200);
    assert.ok(await hub.downloadFile({ ...bob, repo, path: "config.json" }));
    assert.equal((await settings({ gated: false }, "hf_test")).status, 200);
    assert.ok(await hub.downloadFile({ ...nobody, repo, path: "config.json" }));
  });

  await check(title("delete the repository"), async () => {
    await refused(hub.deleteRepo({ ...bob, repo }), 403);
    await refused(hub.deleteRepo({ ...reader, repo }), 403);
    await hub.deleteRepo({ ...alice, repo });
    assert.equal(await hub.repoExists({ ...alice, repo }), false);
    await refused(hub.deleteRepo({ ...alice, repo }), 404);
    await hub.createRepo({ ...alice, repo });
    assert.equal(await hub.countCommits({ ...alice, repo }), 1);
    await hub.deleteRepo({ ...alice, repo });
  });
}

await check("pages of a large listing", async () => {
  const repo = { type: "model", name: "alice/pages" };
  await hub.createRepo({ ...alice, repo });
  const operations = Array.from({ length: 2500 }, (_, i) => add(`d${i % 7}/f${i}.txt`, `${i}`));
  await hub.commit({ ...alice, repo, title: "2500 files", operations });
  let requests = 0;
  const watch = (...args) => (requests++, fetch(...args));
  const files = (await all(hub.listFiles({ ...nobody, fetch: watch, repo, recursive: true }))).filter((f) => f.type === "file");
  assert.equal(files.length, 2501);
  assert.equal(new Set(files.map((f) => f.path)).size, 2501);
  assert.equal(requests, 3);
  requests = 0;
  const expanded = await all(hub.listFiles({ ...nobody, fetch: watch, repo, path: "d1", expand: true }));
  assert.equal(expanded.length, 357);
  assert.equal(requests, 4);
  assert.ok(expanded.every((f) => f.lastCommit.title === "2500 files"));
});

await check("safetensors headers", async () => {
  const repo = { type: "model", name: "alice/tensors" };
  const header = JSON.stringify({ "a.weight": { dtype: "BF16", shape: [2, 4], data_offsets: [0, 16] } }).padEnd(96);
  const file = new Uint8Array(8 + 96 + 16);
  new DataView(file.buffer).setBigUint64(0, 96n, true);
  file.set(new TextEncoder().encode(header), 8);
  await hub.createRepo({ ...alice, repo });
  await hub.uploadFile({ ...alice, repo, file: { path: "model.safetensors", content: new Blob([file]) } });
  const parsed = await hub.parseSafetensorsMetadata({ ...nobody, repo: repo.name, computeParametersCount: true });
  assert.equal(parsed.sharded, false);
  assert.deepEqual(parsed.parameterCount, { BF16: 8 });
});

await check("transformers.js: configuration and tokenizer", async () => {
  const { AutoConfig, AutoTokenizer, env } = await import(join(process.cwd(), "node_modules/@huggingface/transformers/dist/transformers.js"));
  Object.assign(env, { remoteHost: `${hubUrl}/`, allowLocalModels: false, useBrowserCache: false, useFSCache: false });
  const repo = { type: "model", name: "alice/tjs" };
  const model = { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, vocab: { "<s>": 0, a: 1, b: 2, ab: 3 }, merges: ["a b"] };
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = { version: "1.0", truncation: null, padding: null, added_tokens: [{ id: 0, content: "<s>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }], normalizer: null, pre_tokenizer: bytes, post_processor: null, decoder: { ...bytes, add_prefix_space: true }, model };
  await hub.createRepo({ ...alice, repo });
  await hub.uploadFiles({
    ...alice, repo, files: [
      { path: "config.json", content: new Blob(['{"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":4}']) },
      { path: "tokenizer.json", content: new Blob([JSON.stringify(tokenizer)]) },
      { path: "tokenizer_config.json", content: new Blob(['{"tokenizer_class":"PreTrainedTokenizerFast","bos_token":"<s>"}']) },
    ],
  });
  const config = await AutoConfig.from_pretrained("alice/tjs");
  assert.equal(config.model_type, "llama");
  assert.equal(config.vocab_size, 4);
  const t = await AutoTokenizer.from_pretrained("alice/tjs");
  assert.deepEqual(Array.from(t("abab", { return_tensor: false }).input_ids), [3, 3]);
  assert.equal(t.decode([3, 1]), "aba");
});

console.log(`${done} checks held, ${failed} failed`);
process.exit(failed ? 1 : 0);
