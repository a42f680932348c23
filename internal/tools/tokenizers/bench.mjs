// Compares the speed of llm/tokenizer with Hugging Face's Rust library (npm package `tokenizers`) in one run: one
// thread, ids only, pieces of about 2,000 characters. Run it in the project's folder:
//
//   NODE_PATH=/some/folder/node_modules node internal/tools/tokenizers/bench.mjs SHARED_FOLDER
import { execFileSync } from "child_process";
import fs from "fs";
import { createRequire } from "module";
import os from "os";
import path from "path";

process.env.TOKENIZERS_PARALLELISM = "false";
process.env.RAYON_NUM_THREADS = "1";
const { Tokenizer } = createRequire(import.meta.url)("tokenizers");
const shared = process.argv[2];
const lines = (f) => fs.readFileSync(path.join(shared, f), "utf8").trim().split("\n").map((l) => JSON.parse(l));

const pieces = (chars) => { const out = []; for (let i = 0; i < chars.length; i += 2000) out.push(chars.slice(i, i + 2000).join("")); return out; };
const english = Array.from(lines("data/gsm8k/train.jsonl").map((x) => x.question + "\n" + x.answer).join("\n\n").slice(0, 1 << 20));
const goldens = fs.readdirSync(path.join(shared, "golden/tokenizer")).filter((f) => f.endsWith(".jsonl") && !/chat|decode/.test(f));
const mixed = Array.from(Array.from({ length: 8 }, () => lines("golden/tokenizer/" + goldens[0]).map((x) => x.text).join("\n")).join("\n"));
const texts = { english: pieces(english), mixed: pieces(mixed) };

const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "tokenizers-")), "texts.json");
fs.writeFileSync(file, JSON.stringify(texts));
const bench = execFileSync("go", ["test", "-run", "^$", "-bench", "Texts|Open", "-cpu", "1", "./llm/tokenizer"], {
  env: { ...process.env, D2NWG_BENCH_TEXTS: file, D2NWG_SHARED: path.resolve(shared) }, encoding: "utf8",
});
const ours = (name, unit) => Number(new RegExp(`^Benchmark${name}\\s.*?([\\d.]+) ${unit}`, "m").exec(bench)?.[1]);

for (const name of fs.readdirSync(path.join(shared, "tokenizers"))) {
  const json = path.join(shared, "tokenizers", name, "tokenizer.json");
  const load = () => { const t0 = performance.now(); const t = Tokenizer.fromFile(json); return [t, performance.now() - t0]; };
  load();
  const [t, ms] = load();
  console.log(`${name}: load ${(ours(`Open/${name}`, "ns/op") / 1e6).toFixed(0)} ms, Rust ${ms.toFixed(0)} ms; keeps ${ours(`Open/${name}`, "MB-kept")} MB`);
  for (const [kind, all] of Object.entries(texts)) {
    const bytes = all.reduce((n, s) => n + Buffer.byteLength(s), 0);
    let best = 0;
    for (let i = 0; i < 4; i++) { // the first round warms up
      const t0 = performance.now();
      for (const s of all) (await t.encode(s, null, { addSpecialTokens: false })).getIds();
      if (i) best = Math.max(best, bytes / 1e3 / (performance.now() - t0));
    }
    const own = ours(`Texts/${name}/${kind}`, "MB/s");
    console.log(`  ${kind}: ${own.toFixed(1)} MB/s, Rust ${best.toFixed(2)} MB/s: ${(own / best).toFixed(1)} times`);
  }
}
