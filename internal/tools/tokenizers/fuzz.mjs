// Compares `d2nwg text` with Hugging Face's own library, the Rust implementation behind the npm package `tokenizers`:
//
//   npm install --ignore-scripts --prefix /some/folder tokenizers@0.23.2
//   NODE_PATH=/some/folder/node_modules node fuzz.mjs BIN/d2nwg TOKENIZER_DIR… [--strings N] [--seed S] [--variants] [--full]
//
// For each tokenizer: every assigned code point in several contexts and N random strings (50,000), each encoded with and
// without special tokens, with offsets, and decoded again, and N/10 random id sequences decoded. With --variants also
// tokenizers made of other components around the same vocabularies, on random strings, and on the code points with
// --full. Prints what differs, then the counts; exits with 1 where anything does.
import { execFileSync } from "child_process";
import fs from "fs";
import { createRequire } from "module";
import os from "os";
import path from "path";
import { codePoints, generator, random } from "./strings.mjs";
import { variants } from "./variants.mjs";

const { Tokenizer } = createRequire(import.meta.url)("tokenizers");
const options = { strings: 50000, seed: 1, variants: false, full: false };
const dirs = [];
const args = process.argv.slice(2);
const bin = path.resolve(args.shift());
while (args.length) {
  const arg = args.shift();
  if (arg === "--variants" || arg === "--full") options[arg.slice(2)] = true;
  else if (arg.startsWith("--")) options[arg.slice(2)] = Number(args.shift());
  else dirs.push(arg);
}
const work = fs.mkdtempSync(path.join(os.tmpdir(), "tokenizers-"));
let total = 0, wrong = 0;

// ours runs d2nwg over inputs and yields its answers.
function ours(command, inputs) {
  const file = path.join(work, "in.jsonl"), out = path.join(work, "out.jsonl");
  const fd = fs.openSync(file, "w");
  for (let i = 0; i < inputs.length; i += 1000) fs.writeSync(fd, inputs.slice(i, i + 1000).map((x) => JSON.stringify(x) + "\n").join(""));
  fs.closeSync(fd);
  const stdin = fs.openSync(file), stdout = fs.openSync(out, "w");
  execFileSync(bin, ["text", ...command], { stdio: [stdin, stdout, "inherit"] });
  fs.closeSync(stdin);
  fs.closeSync(stdout);
  return fs.readFileSync(out, "utf8").trimEnd().split("\n").map((l) => JSON.parse(l));
}

function check(name, what, input, got, want) {
  const a = JSON.stringify(got), b = JSON.stringify(want);
  if (a === b) return;
  if (++wrong <= 20) console.log(`${name}: ${what} of ${JSON.stringify(input)}:\n  ours ${a}\n  HF   ${b}`);
}

async function compare(name, dir, strings) {
  const hf = Tokenizer.fromFile(path.join(dir, "tokenizer.json"));
  const plain = (x) => Array.from(x, Number);
  const before = wrong;
  for (const special of [false, true]) {
    const got = ours(["encode", "--tokenizer", dir, ...(special ? ["--special"] : [])], strings.map((text) => ({ text })));
    const ids = [];
    for (const [i, text] of strings.entries()) {
      const e = await hf.encode(text, null, { addSpecialTokens: special });
      const want = plain(e.getIds());
      ids.push({ ids: want });
      check(name, "ids", text, got[i].ids, want);
      check(name, "offsets", text, got[i].offsets, e.getOffsets().flatMap(plain));
    }
    if (!special) continue;
    const size = Object.keys(hf.getVocab(true)).length, below = generator(options.seed);
    for (let i = 0; i < options.strings / 10; i++) ids.push({ ids: Array.from({ length: 1 + below(12) }, () => below(size)) });
    const decoded = ours(["decode", "--tokenizer", dir], ids);
    for (const [i, x] of ids.entries()) {
      check(name, "text", x.ids, decoded[i].text, await hf.decode(x.ids, false));
      check(name, "text_skip", x.ids, decoded[i].text_skip, await hf.decode(x.ids, true));
    }
  }
  total += strings.length;
  console.log(`${name}: ${strings.length} strings, ${wrong - before} differences`);
}

for (const dir of dirs) {
  const name = path.basename(dir);
  await compare(name, dir, [...codePoints(), ...random(options.strings, options.seed)]);
  if (!options.variants) continue;
  const file = fs.readFileSync(path.join(dir, "tokenizer.json"), "utf8");
  const onBytes = JSON.parse(file).decoder?.type === "ByteLevel";
  for (const v of variants.filter((v) => v.onBytes === onBytes)) {
    const json = JSON.parse(file);
    v.change(json);
    const made = path.join(work, `${name}-${v.name}`);
    fs.mkdirSync(made);
    fs.writeFileSync(path.join(made, "tokenizer.json"), JSON.stringify(json));
    const points = options.full ? [...codePoints()] : [];
    await compare(`${name}-${v.name}`, made, [...points, ...random(options.strings / 10, options.seed + 1)]);
  }
}
fs.rmSync(work, { recursive: true });
console.log(`${total} strings, ${wrong} differences`);
process.exit(wrong ? 1 : 0);
