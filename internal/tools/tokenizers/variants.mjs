// Tokenizer files that put other components around the vocabulary of a given one, after the files of the LLaMA world:
// what is tested is the components, not the vocabulary.

const split = (regex, behavior = "Isolated") => ({ type: "Split", pattern: { Regex: regex }, behavior, invert: false });
const bytes = (o = {}) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false, ...o });
const line = (...pretokenizers) => ({ type: "Sequence", pretokenizers });

const qwen = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const o200k = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const tekken = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const cl100k = "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";

const flags = [
  { content: "<L>", lstrip: true }, { content: "<R>", rstrip: true }, { content: "<LR>", lstrip: true, rstrip: true },
  { content: "<W>", single_word: true }, { content: "word", single_word: true, normalized: true },
  { content: "<N>", normalized: true }, { content: "the  end", normalized: true }, { content: "<S>", special: true },
  { content: "<SN>", special: true, normalized: true, lstrip: true }, { content: "<L><R>" }, { content: "\n\n\n" }, { content: "<<" },
  { content: "Straße", normalized: true }, { content: "é", normalized: true },
].map((t) => ({ id: 0, single_word: false, lstrip: false, rstrip: false, normalized: false, special: false, ...t }));

const some = (t) => Object.entries(t.model.vocab)[9]; // a token and its id

const added = (t) => { t.added_tokens = [...t.added_tokens, ...flags]; };

// Each takes a copy of a tokenizer.json and changes it; onBytes: for byte-level vocabularies, else for the others.
export const variants = [
  { name: "flags", onBytes: true, change: added },
  { name: "flags", onBytes: false, change: added },
  { name: "qwen", onBytes: true, change: (t) => { t.normalizer = { type: "NFC" }; t.pre_tokenizer = line(split(qwen), bytes()); t.post_processor = bytes(); t.model.ignore_merges = false; } },
  { name: "nfkd", onBytes: true, change: (t) => { t.normalizer = { type: "NFKD" }; added(t); } },
  { name: "nfkc", onBytes: false, change: (t) => { t.normalizer = { type: "Sequence", normalizers: [{ type: "NFKC" }, t.normalizer].filter(Boolean) }; added(t); } },
  { name: "gpt2", onBytes: true, change: (t) => { t.pre_tokenizer = bytes({ use_regex: true, add_prefix_space: true }); t.post_processor = bytes({ add_prefix_space: true }); } },
  { name: "smollm", onBytes: true, change: (t) => { t.pre_tokenizer = line({ type: "Digits", individual_digits: true }, bytes({ use_regex: true })); t.post_processor = bytes({ trim_offsets: false }); } },
  { name: "digits-after", onBytes: true, change: (t) => { t.pre_tokenizer = line(bytes({ use_regex: true }), { type: "Digits", individual_digits: false }, split("[0-9][0-9][0-9]")); } },
  { name: "o200k", onBytes: true, change: (t) => { t.pre_tokenizer = line(split(o200k), bytes()); } },
  { name: "tekken", onBytes: true, change: (t) => { t.pre_tokenizer = line(split(tekken), bytes()); } },
  { name: "cl100k", onBytes: true, change: (t) => { t.pre_tokenizer = line(split(cl100k), bytes()); } },
  { name: "deepseek", onBytes: true, change: (t) => { t.pre_tokenizer = line(split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), { type: "Digits", individual_digits: true }, bytes()); } },
  { name: "deepseek3", onBytes: true, change: (t) => { t.pre_tokenizer = line(split("\\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"), bytes()); } },
  { name: "contiguous", onBytes: true, change: (t) => { t.pre_tokenizer = line(split("\\p{P}", "Contiguous"), split(" ", "MergedWithNext"), bytes()); } },
  { name: "removed", onBytes: true, change: (t) => { t.pre_tokenizer = line(split("\\s+", "Removed"), bytes({ add_prefix_space: true })); } },
  { name: "inverted", onBytes: true, change: (t) => { t.pre_tokenizer = line({ ...split("\\p{L}+|\\p{Nd}+", "Removed"), invert: true }, bytes()); } },
  { name: "falcon", onBytes: true, change: (t) => { t.pre_tokenizer = line({ type: "Punctuation", behavior: "Contiguous" }, bytes({ use_regex: true }), { type: "Digits", individual_digits: false }, split("[0-9][0-9][0-9]")); } },
  { name: "roberta", onBytes: true, change: (t) => { t.post_processor = { type: "RobertaProcessing", cls: some(t), sep: some(t), trim_offsets: true, add_prefix_space: false }; t.model.unk_token = "none"; } },
  { name: "trimmed twice", onBytes: true, change: (t) => { t.post_processor = { type: "Sequence", processors: [bytes(), { type: "BertProcessing", cls: some(t), sep: some(t) }, bytes()] }; } },
  { name: "swallow", onBytes: true, change: (t) => { t.added_tokens = [...t.added_tokens, ...[["<R>", false, true], ["\t", true, true], ["\n", false, false], ["  ", false, true]].map(([content, lstrip, rstrip]) => ({ ...flags[0], content, lstrip, rstrip }))]; } },
  { name: "vicuna", onBytes: false, change: (t) => { t.added_tokens = t.added_tokens.map((x) => ({ ...x, normalized: true })); } },
  { name: "gemma", onBytes: false, change: (t) => { t.normalizer = { type: "Replace", pattern: { String: " " }, content: "▁" }; t.pre_tokenizer = { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false }; } },
  { name: "words", onBytes: false, change: (t) => { t.normalizer = null; t.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true }; t.decoder = t.pre_tokenizer; added(t); } },
  { name: "first", onBytes: false, change: (t) => { t.normalizer = { type: "Replace", pattern: { Regex: " {2,}" }, content: "▁▁" }; t.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false }; added(t); } },
  { name: "never", onBytes: false, change: (t) => { t.normalizer = null; t.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: "never", split: true }; t.decoder = t.pre_tokenizer; } },
  { name: "unk", onBytes: false, change: (t) => { t.model.byte_fallback = false; t.model.fuse_unk = false; } },
  { name: "fused", onBytes: false, change: (t) => { t.model.byte_fallback = false; t.model.fuse_unk = true; } },
];
