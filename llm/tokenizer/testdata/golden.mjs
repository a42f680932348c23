// Writes golden cases with Hugging Face's own library (npm package `tokenizers`, the Rust library's binding):
//
//   npm install --ignore-scripts tokenizers
//   node golden.mjs TOKENIZER.json > NAME.jsonl
//
// One JSON object a line: {text, ids, ids_special, decoded} for encodings, {ids, text, text_skip} for decodings.
import { createRequire } from "module";
const { Tokenizer } = createRequire(process.cwd() + "/")("tokenizers");

const tokenizer = Tokenizer.fromFile(process.argv[2]);
const plain = (ids) => Array.from(ids, Number);
const texts = [
  "", " ", "  ", "\n", "\t\r\n", "a", "Hello, world!", " Once upon a time", "Once upon  a time there was\na little girl. ",
  "reverse the text\nabcdef>fedcba", "caesar +3: xyz>abc", "1234567890", "x".repeat(50), "the cat the cat the cat",
  "<s>", "a<s>b", "</s> <unk>", "<s></s>", "<S>", "<0x41>", "<0x0A>", "é", "naïve café", "€", "日本語", "🙂👩‍👩‍👧", "\u0000\u0001\u007f",
  "▁", "a▁b", "~`!@#$%^&*()_-+={}[]|\\:;\"'<>,.?/", "ﬁ ſ K", "e\u0301", "\u00a0x\u2028y", "\ufeffbom", "don't won't",
  "Lily and Ben went to the park. \"Look!\" said Lily, \"a big, red ball.\"", "a  b   c    d", "\ud7ff\ue000",
];
for (const text of texts) {
  const ids = plain((await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds());
  const ids_special = plain((await tokenizer.encode(text, null, { addSpecialTokens: true })).getIds());
  const decoded = ids.length ? await tokenizer.decode(ids, false) : "";
  console.log(JSON.stringify({ text, ids, ids_special, decoded }));
}
let state = 12345; // a linear congruence, so that the file comes out the same again
const random = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
for (let i = 0; i < 100; i++) {
  const ids = Array.from({ length: 1 + random(12) }, () => random(tokenizer.getVocab ? Object.keys(tokenizer.getVocab(true)).length : 100));
  const text = await tokenizer.decode(ids, false);
  const text_skip = await tokenizer.decode(ids, true);
  console.log(JSON.stringify({ ids, text, text_skip }));
}
