// Writes llm/tokenizer/testdata/small.json: two small tokenizers of our own, the variants of variants.mjs on them as
// what they change, and for each what Hugging Face's library makes of some strings.
//
//   NODE_PATH=/some/folder/node_modules node small.mjs > llm/tokenizer/testdata/small.json
import { createRequire } from "module";
import { random } from "./strings.mjs";
import { variants } from "./variants.mjs";
const { Tokenizer, byteLevelPreTokenizer } = createRequire(import.meta.url)("tokenizers");

const words = [
  " the", " word", "word", "don't", " a", "the", "ing", "tion", "internal", "12", "123", " 3", "==", "----", "  ", "    ", "\n\n", "日本", "漢字",
  "é", "ê", "😀", "👍", "ſ", "Straße", " <", "aaaa", "aa", "It", "WE'LL", "...", " (", "한", "Пр", "ив", "\r\n", "html", "https", "://", "123",
];

// build returns vocab and merges in which every word is a token, made from left to right.
function build(alphabet, words) {
  const vocab = new Map(alphabet.map((t, i) => [t, i])), merges = new Map();
  for (const chars of words) {
    let token = chars[0];
    for (const c of chars.slice(1)) {
      merges.set(`${token} ${c}`, true);
      token += c;
      if (!vocab.has(token)) vocab.set(token, vocab.size);
    }
  }
  return { vocab: Object.fromEntries(vocab), merges: [...merges.keys()] };
}

const toBytes = byteLevelPreTokenizer(false, false);
const byteChars = (w) => Array.from(toBytes.preTokenizeString(w).map((p) => p[0]).join(""));
const alphabet = []; // GPT-2's bytes_to_unicode
for (let b = 0, next = 256; b < 256; b++) alphabet.push(String.fromCodePoint((b > 32 && b < 127) || (b > 160 && b !== 173) ? b : next++));
const token = (id, content) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true });
const single = (t) => ({ type: "TemplateProcessing", single: [{ SpecialToken: { id: t, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], pair: [], special_tokens: { [t]: { id: t, ids: [0], tokens: [t] } } });

const onBytes = {
  version: "1.0", truncation: null, padding: null, added_tokens: [], normalizer: null,
  pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex: "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" }, behavior: "Isolated", invert: false }, { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false }] },
  post_processor: { type: "Sequence", processors: [{ type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true }, single("!")] },
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: true, ...build(alphabet.sort((a, b) => (a === "!" ? -1 : b === "!" ? 1 : 0)), words.map(byteChars)) },
};
onBytes.model.vocab["Ġunmerged"] = Object.keys(onBytes.model.vocab).length; // found by ignore_merges alone
onBytes.added_tokens = [token(0, "<|eot_id|>")];

const hex = (b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`;
const letters = Array.from(new Set("▁ 日本漢字éêſß한Прив" + Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join(""))).filter((c) => c !== " ");
const onCharacters = {
  version: "1.0", truncation: null, padding: null,
  added_tokens: ["<unk>", "<s>", "</s>"].map((c, i) => token(i, c)),
  normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Replace", pattern: { String: " " }, content: "▁" }] },
  pre_tokenizer: null,
  post_processor: { ...single("<s>"), special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } } },
  decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }] },
  model: { type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false, ...build(["<unk>", "<s>", "</s>", ...Array.from({ length: 256 }, (_, b) => hex(b)), ...letters], words.map((w) => Array.from(w.replaceAll(" ", "▁"))).filter((w) => w.every((c) => letters.includes(c)))) },
};

const plain = (x) => Array.from(x, Number);
const texts = ["", " ", "the unmerged word don't IT'ſ 1234 ", ...[...random(90, 7)].filter((s) => s.length < 60).slice(0, 30)];
async function cases(json) {
  const hf = Tokenizer.fromString(JSON.stringify(json)), out = [];
  for (const text of texts) {
    const e = await hf.encode(text, null, { addSpecialTokens: false });
    const ids_special = plain((await hf.encode(text, null, { addSpecialTokens: true })).getIds());
    const ids = plain(e.getIds());
    const item = { text, ids, ids_special, offsets: e.getOffsets().flatMap(plain) };
    if (ids.length) Object.assign(item, { decoded: await hf.decode(ids, false), decoded_skip: await hf.decode(ids_special, true) });
    out.push(item);
  }
  return out;
}

const bases = { bytes: onBytes, characters: onCharacters }, tests = [];
for (const [base, json] of Object.entries(bases)) {
  const all = [{ name: "plain", onBytes: base === "bytes", change() {} }, ...variants];
  for (const v of all.filter((v) => v.onBytes === (base === "bytes"))) {
    const changed = structuredClone(json), changes = {};
    v.change(changed);
    const { vocab, merges, ...model } = changed.model;
    for (const key of ["added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"]) if (JSON.stringify(changed[key]) !== JSON.stringify(json[key])) changes[key] = changed[key];
    tests.push({ name: `${base} ${v.name}`, base, changes, model, cases: await cases(changed) });
  }
}
const lines = tests.map((t) => `{"name":${JSON.stringify(t.name)},"base":"${t.base}","changes":${JSON.stringify(t.changes)},"model":${JSON.stringify(t.model)},"cases":[\n${t.cases.map((c) => JSON.stringify(c)).join(",\n")}]}`);
console.log(`{"bases":{\n${Object.entries(bases).map(([k, v]) => `"${k}":${JSON.stringify(v)}`).join(",\n")}},\n"tests":[\n${lines.join(",\n")}]}`);
