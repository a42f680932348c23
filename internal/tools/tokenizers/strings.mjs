// The strings of a differential test: every assigned code point in several contexts, then random mixtures.

// mulberry32, so that a seed gives the same strings everywhere.
export function generator(seed) {
  return (n) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

const assigned = /\P{Cn}/u;
const isPrivate = /\p{Co}/u;

// codePoints yields one string for each assigned code point; of the private-use planes every 64th.
export function* codePoints() {
  for (let c = 0; c < 0x110000; c++) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const s = String.fromCodePoint(c);
    if (!assigned.test(s) || (isPrivate.test(s) && c % 64)) continue;
    yield `a${s}b ${s}1${s}\n${s}'${s}!${s}${s} <W>${s}`;
  }
}

const parts = [
  "the", " the", "The", " word", "internationalization", "don't", "WE'LL", "it'ſ", "'S", "'re", "x'Ve", "DONT", "O'Neill", "'", "''",
  " ", "  ", "   ", "\t", "\n", "\r\n", " \n", "\n\n\n", "\u00a0", "\u3000", "\u2028", "\u200b", "\u0085", " \t \n  ",
  "0", "12", "123", "1234567", " 3.14", "٣٤٥", "Ⅷ", "½", "²", "१२३", "𝟘𝟙",
  ".", ",", "...", "!?", " (", ")", "—", "…", "«", "__", "#", "@", "\\", "/", "//", "<", ">", "{}", "[]",
  "é", "e\u0301", "ô\u0323", "Å", "\u212b", "ﬁ", "ﬀ", "Straße", "naïve", "ſ", "K", "\u0345", "\u0334\u0301", "\u0301\u0334", "q\u0307\u0323",
  "日本語", "漢字", "かな", "カナ", "한국어", "가", "\u1100\u1161\u11a8", "Привет", "Ελληνικά", "עברית", "العربية", "हिन्दी", "ไทย", "ქართული",
  "😀", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "🂡", "\u{1F16C}", "\u{11938}", "\u{10D4A}", "\u{16D68}",
  "<s>", "</s>", "<unk>", "<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|", "<0x41>", "<0x0A>", "▁", "▁▁", "Ġ", "Ċ",
  "<L>", " <L>", "<R>", "<R> ", "<LR>", "  <LR>  ", "<W>", "<N>", "<S>", "<SN>", "<<", "<L><R>", "the  end", "word",
  "\0", "\x01", "\x7f", "\ufeff", "\ufffd", "\ufffe", "\u{10ffff}", "\ue000", "\uffff",
  "https://example.com/a?b=c", "def f(x):\n    return x\n", "\tif (a != b) {", "<html>", "&amp;", "aaaaaaaaaaaaaaaaaaaaaaaa", "========", "--------------------------------------------",
];

// random yields strings of random parts, code points and ASCII.
export function* random(n, seed) {
  const below = generator(seed);
  const point = () => {
    for (;;) {
      const c = below([0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000][below(6)]);
      if (c < 0xd800 || c >= 0xe000) return String.fromCodePoint(c);
    }
  };
  for (let i = 0; i < n; i++) {
    let s = "";
    const kind = below(10);
    const length = below(kind === 0 ? 400 : 14);
    for (let j = 0; j < length; j++) {
      const k = kind === 9 ? 9 : below(9);
      if (k < 6) s += parts[below(parts.length)];
      else if (k < 7) s += point();
      else if (k < 8) s += String.fromCharCode(32 + below(95));
      else s += parts[below(parts.length)].repeat(1 + below(4));
      if (k === 9) s += point();
    }
    yield s;
  }
}
