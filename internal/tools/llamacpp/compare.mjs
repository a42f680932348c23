// Compares the speed of the scoring engine with llama.cpp's, from the npm package of its prebuilt library, which is
// needed for this comparison only, as are git and a C compiler:
//
//   npm install --ignore-scripts --prefix /some/folder node-llama-cpp@3.22.1
//   d2nwg random --shape llama-3.2-1b --out models/random-1b
//   NODE_PATH=/some/folder/node_modules node compare.mjs BIN/d2nwg models/random-1b… [--rounds N] [--threads N]
//     [--prefill N] [--decode N] [--batch N] [--load L] [--others P] [--wait SECONDS] [--json FILE]
//
// Each checkpoint (LLaMA, bfloat16, one file) is converted to GGUF with its matrices as they are, and both engines' logits
// after the same ids are compared once. Then ours and theirs are measured in turn, N rounds (3), each in a process of its
// own: prefill of one prompt (512 ids), decode of single tokens after it (32), and decode of a batch of sequences over the
// same prompt (16; 0: none). llama.cpp is measured by llama.c: best of 3, threads as given (2) and kept, batches of 512,
// flash attention where it chooses so, the file mapped, the batch's prompt shared or copied, whichever is faster. Ours is
// measured by `d2nwg bench`. What is printed are medians of the rounds.
//
// Before each measurement it waits for a load average below L (0.7) and for others to leave the processors alone; one during
// which they took more than P percent (3) of them is repeated. Both up to SECONDS (600) in all; after that it measures as
// it can. llama.cpp's threads wait for each other without sleeping, so that a second program on two processors costs it
// far more than its share. The load average contains the measurement before: where others are few, --load 3 saves time.
import { execFile, execFileSync } from "child_process";
import fs from "fs";
import { createRequire } from "module";
import os from "os";
import path from "path";
import { fileURLToPath } from "url";
import { promisify } from "util";
import { convert } from "./gguf.mjs";

const options = { rounds: 3, threads: 2, prefill: 512, decode: 32, batch: 16, load: 0.7, others: 3, wait: 600, json: "" };
const names = [];
for (let args = process.argv.slice(2); args.length;) {
  const arg = args.shift(), name = arg.slice(2);
  if (!arg.startsWith("--")) names.push(arg);
  else if (name in options) options[name] = name === "json" ? args.shift() : Number(args.shift());
  else throw new Error(`no option ${arg}`);
}
const [bin, ...dirs] = names.map((name) => path.resolve(name));
if (!dirs.length || !(options.rounds > 0)) throw new Error("usage: compare.mjs BIN/d2nwg DIR… [--rounds N] …, N 1 or more");
const measures = ["prefill", "decode", ...(options.batch ? ["batch"] : [])];
const run = promisify(execFile), limit = { maxBuffer: 1 << 28 };
const work = fs.mkdtempSync(path.join(os.tmpdir(), "llamacpp-"));
process.on("exit", () => fs.rmSync(work, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
let patience = options.wait;

const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
const median = (list) => {
  const s = list.toSorted((a, b) => a - b), half = s.length >> 1;
  return s.length % 2 ? s[half] : (s[half - 1] + s[half]) / 2;
};

// build makes the program that measures llama.cpp. The headers are in the history that node-llama-cpp brings along.
function build() {
  const require = createRequire(import.meta.url), platform = `${process.platform}-${process.arch}`;
  const bins = path.join(path.dirname(require.resolve(`@node-llama-cpp/${platform}`)), "..", "bins", platform);
  const binding = path.join(bins, "..", "..", "..", "..", "node-llama-cpp");
  const source = path.join(work, "source"), program = path.join(work, "llama");
  execFileSync("git", ["clone", "-q", "--no-checkout", path.join(binding, "llama", "gitRelease.bundle"), source], { stdio: "ignore" });
  execFileSync("git", ["-C", source, "checkout", "-q", "HEAD", "--", "include", "ggml/include"]);
  const libraries = fs.readdirSync(bins).filter((f) => /^lib(llama|ggml)(-base)?(\.v.*)?\.so$/.test(f)).map((f) => path.join(bins, f));
  execFileSync(process.env.CC ?? "cc", ["-O2", `-I${source}/include`, `-I${source}/ggml/include`, `-Wl,-rpath,${bins}`,
    path.join(path.dirname(fileURLToPath(import.meta.url)), "llama.c"), ...libraries, "-o", program]);
  const release = JSON.parse(fs.readFileSync(path.join(binding, "llama", "llama.cpp.info.json"), "utf8")).tag;
  return { release, ask: (model, ...args) => run(program, [bins, model, options.threads, ...args].map(String), limit) };
}

// processors returns the seconds all processors have worked, time taken by the host included, and those of them that went
// to the processes this one has waited for.
function processors() {
  const [total] = fs.readFileSync("/proc/stat", "utf8").split("\n");
  const [user, nice, system, , , irq, softirq, steal] = total.split(/ +/).slice(1).map(Number);
  const own = fs.readFileSync("/proc/self/stat", "utf8").replace(/^.*\) /, "").split(" ");
  return { all: (user + nice + system + irq + softirq + steal) / 100, children: (Number(own[13]) + Number(own[14])) / 100 };
}

// during says what percentage of the processors others took meanwhile.
async function during(work) {
  const before = processors(), start = performance.now();
  const result = await work();
  const seconds = (performance.now() - start) / 1000, after = processors();
  const took = after.all - before.all - (after.children - before.children);
  return { result, seconds, others: Math.max(0, (100 * took) / (seconds * os.cpus().length)) };
}

// quietly measures once the machine is quiet and returns what was printed, the load before, and others' share.
async function quietly(who, measure) {
  for (;;) {
    while (patience > 0 && (os.loadavg()[0] >= options.load || (await during(() => sleep(2))).others > options.others)) {
      await sleep(2);
      patience -= 4;
    }
    const load = os.loadavg()[0];
    const { result: { stdout }, seconds, others } = await during(measure);
    const r = JSON.parse(stdout);
    for (const m of ["prefill", "decode", "batch"]) r[m] = r[`${m}_tokens_per_s`] ?? r[m] ?? Math.max(r.shared, r.copied);
    const again = others > options.others && patience > 0;
    console.error(`  ${who.padEnd(9)} load ${load.toFixed(2)}, others ${others.toFixed(1).padStart(4)} %: ` +
      measures.map((m) => `${m} ${r[m].toFixed(1)}`).join(", ") + (again ? ", repeated" : ""));
    if (!again) return { load, others, ...r };
    patience -= seconds;
  }
}

// compareLogits says how far the two engines' logits are apart: the figures mean something if both compute the model.
async function compareLogits(dir, model, config) {
  const ids = Array.from({ length: 64 }, (_, i) => (i * 7919 + 1) % config.vocab_size);
  const asked = run(bin, ["logits", dir], limit);
  asked.child.stdin.end(JSON.stringify({ ids }) + "\n");
  const ours = JSON.parse((await asked).stdout).logits_last;
  const { logits } = JSON.parse((await llama.ask(model, "logits", ...ids)).stdout);
  const mean = ours.reduce((a, x) => a + x) / ours.length;
  const spread = Math.sqrt(ours.reduce((a, x) => a + (x - mean) ** 2, 0) / ours.length);
  return Math.sqrt(ours.reduce((a, x, i) => a + (x - logits[i]) ** 2, 0) / ours.length) / spread;
}

const llama = build();
const report = { ...options, processor: os.cpus()[0].model, release: llama.release, shapes: [] };
const sizes = ["prefill", "decode", "batch"];
const env = { ...process.env, GOMAXPROCS: String(options.threads) };
for (const dir of dirs) {
  const model = path.join(work, "model.gguf"), name = path.basename(dir);
  const config = convert(dir, model);
  const apart = await compareLogits(dir, model, config);
  console.error(`${name}: logits differ by ${(100 * apart).toFixed(2)} % of their spread (ours in float32)`);
  const ours = [], theirs = [];
  for (let round = 0; round < options.rounds; round++) {
    const bench = ["bench", dir, "--json", ...sizes.flatMap((m) => [`--${m}`, String(options[m])])];
    ours.push(await quietly("ours", () => run(bin, bench, { ...limit, env })));
    theirs.push(await quietly("llama.cpp", () => llama.ask(model, "speed", ...sizes.map((m) => options[m]))));
  }
  fs.rmSync(model);
  report.shapes.push({ name, apart, ours, theirs });
  print(report.shapes.at(-1)); // now and not at the end: a run takes long, and may be ended early
  if (options.json) fs.writeFileSync(options.json, JSON.stringify(report, null, 1) + "\n");
}

function print({ name, ours, theirs }) {
  console.log(`${name}: ${report.processor}, ${options.threads} threads; ours: ${ours[0].kernel}, ${ours[0].arithmetic}; ` +
    `llama.cpp ${llama.release}: ${theirs[0].backend}, ${theirs[0].system}`);
  console.log(`tokens/s, median of ${options.rounds}`.padEnd(24) + "ours  llama.cpp   ratio");
  for (const m of measures) {
    const a = median(ours.map((r) => r[m])), b = median(theirs.map((r) => r[m]));
    console.log(`${m.padEnd(16)} ${a.toFixed(1).padStart(11)} ${b.toFixed(1).padStart(10)} ${(a / b).toFixed(2).padStart(7)}`);
  }
  console.log(`others took at most ${Math.max(...[...ours, ...theirs].map((r) => r.others)).toFixed(1)} % of the processors\n`);
}
