// Writes a LLaMA checkpoint (config.json, model.safetensors in bfloat16) as the GGUF file llama.cpp reads.
import fs from "fs";
import path from "path";

const u32 = 4, f32 = 6, string = 8; // types of metadata values
const F32 = 0, BF16 = 30; // types of tensors
const alignment = 32;
const pad = (n) => (alignment - (n % alignment)) % alignment;

class Bytes {
  parts = [];
  u32(x) { return this.#add(4, (b) => b.writeUInt32LE(x)); }
  u64(x) { return this.#add(8, (b) => b.writeBigUInt64LE(BigInt(x))); }
  f32(x) { return this.#add(4, (b) => b.writeFloatLE(x)); }
  string(s) {
    this.u64(Buffer.byteLength(s)).parts.push(Buffer.from(s));
    return this;
  }
  #add(size, write) {
    const b = Buffer.alloc(size);
    write(b);
    this.parts.push(b);
    return this;
  }
}

function metadata(c, headDim) {
  return [
    ["general.architecture", string, "llama"],
    ["general.file_type", u32, 32], // mostly BF16
    ["llama.block_count", u32, c.num_hidden_layers],
    ["llama.context_length", u32, c.max_position_embeddings],
    ["llama.embedding_length", u32, c.hidden_size],
    ["llama.feed_forward_length", u32, c.intermediate_size],
    ["llama.attention.head_count", u32, c.num_attention_heads],
    ["llama.attention.head_count_kv", u32, c.num_key_value_heads],
    ["llama.attention.key_length", u32, headDim],
    ["llama.attention.value_length", u32, headDim],
    ["llama.attention.layer_norm_rms_epsilon", f32, c.rms_norm_eps],
    ["llama.rope.dimension_count", u32, headDim],
    ["llama.rope.freq_base", f32, c.rope_theta],
    ["llama.vocab_size", u32, c.vocab_size],
    ["tokenizer.ggml.model", string, "no_vocab"], // the comparison works on token ids
  ];
}

// names gives llama.cpp's name of a tensor.
const inLayer = {
  "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
};
const outside = { "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight" };

function rename(name) {
  const m = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name);
  const renamed = m ? inLayer[m[2]] && `blk.${m[1]}.${inLayer[m[2]]}.weight` : outside[name];
  if (!renamed) throw new Error(`no GGUF name for tensor ${name}`);
  return renamed;
}

// interleave reorders the rows of a q or k matrix: llama.cpp rotates neighbouring elements of a head for this
// architecture, the checkpoint has the elements of a pair half a head apart.
function interleave(matrix, heads, rowBytes) {
  const out = Buffer.allocUnsafe(matrix.length);
  const dim = matrix.length / rowBytes / heads, half = dim / 2;
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < dim; i++) {
      const to = h * dim + (i % half) * 2 + Math.floor(i / half), from = h * dim + i;
      matrix.copy(out, to * rowBytes, from * rowBytes, (from + 1) * rowBytes);
    }
  }
  return out;
}

// widen makes float32 of bfloat16, which is its upper half.
function widen(b) {
  const out = Buffer.alloc(b.length * 2);
  for (let i = 0; i < b.length; i += 2) b.copy(out, i * 2 + 2, i, i + 2);
  return out;
}

// frequencyFactors are what llama.cpp divides the angular frequencies of the rotations by, for "llama3" scaling: long
// wavelengths by the whole factor, short ones by 1, and between them what interpolates the frequency.
function frequencyFactors(c, headDim) {
  const s = c.rope_scaling, out = Buffer.alloc(headDim * 2);
  for (let i = 0; i < headDim / 2; i++) {
    const turns = s.original_max_position_embeddings / (2 * Math.PI * c.rope_theta ** ((2 * i) / headDim));
    const share = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    const kept = Math.min(1, Math.max(0, share));
    out.writeFloatLE(1 / (kept + (1 - kept) / s.factor), i * 4);
  }
  return out;
}

// convert writes the checkpoint in dir to file and returns its configuration.
export function convert(dir, file) {
  const config = JSON.parse(fs.readFileSync(path.join(dir, "config.json"), "utf8"));
  const headDim = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  const input = fs.openSync(path.join(dir, "model.safetensors"));
  const read = (position, length) => {
    const b = Buffer.allocUnsafe(length);
    if (fs.readSync(input, b, 0, length, position) !== length) throw new Error("model.safetensors ends early");
    return b;
  };
  const headerBytes = Number(read(0, 8).readBigUInt64LE());
  const start = 8 + headerBytes;

  const tensors = [];
  for (const [name, t] of Object.entries(JSON.parse(read(8, headerBytes).toString()))) {
    if (name === "__metadata__") continue;
    if (t.dtype !== "BF16") throw new Error(`tensor ${name} is ${t.dtype}, only BF16 is converted`);
    const [from, to] = t.data_offsets, length = to - from, all = () => read(start + from, length);
    const tensor = { name: rename(name), shape: t.shape, type: BF16, length };
    const rotated = /\.([qk])_proj\./.exec(name)?.[1];
    if (t.shape.length === 1) { // llama.cpp wants norms in float32
      Object.assign(tensor, { type: F32, length: length * 2, write: (put) => put(widen(all())) });
    } else if (rotated) {
      const heads = rotated === "q" ? config.num_attention_heads : config.num_key_value_heads;
      tensor.write = (put) => put(interleave(all(), heads, t.shape[1] * 2));
    } else {
      tensor.write = (put) => { // in pieces: an embedding can be larger than memory should be used for
        const piece = 16 << 20;
        for (let at = 0; at < length; at += piece) put(read(start + from + at, Math.min(piece, length - at)));
      };
    }
    tensors.push(tensor);
  }
  if (config.rope_scaling) {
    if (config.rope_scaling.rope_type !== "llama3") throw new Error(`rope_type ${config.rope_scaling.rope_type}`);
    const data = frequencyFactors(config, headDim);
    tensors.push({ name: "rope_freqs.weight", shape: [headDim / 2], type: F32, length: data.length, write: (put) => put(data) });
  }

  const values = metadata(config, headDim);
  const header = new Bytes().u32(0x46554747 /* "GGUF" */).u32(3).u64(tensors.length).u64(values.length);
  for (const [key, type, value] of values) {
    header.string(key).u32(type);
    if (type === u32) header.u32(value);
    else if (type === f32) header.f32(value);
    else header.string(value);
  }
  let offset = 0;
  for (const t of tensors) {
    header.string(t.name).u32(t.shape.length);
    for (const n of t.shape.toReversed()) header.u64(n);
    header.u32(t.type).u64(offset);
    offset += t.length + pad(t.length);
  }

  const output = fs.openSync(file, "w");
  const put = (b) => { for (let at = 0; at < b.length;) at += fs.writeSync(output, b, at); };
  const head = Buffer.concat(header.parts);
  put(head);
  put(Buffer.alloc(pad(head.length)));
  for (const t of tensors) {
    t.write(put);
    put(Buffer.alloc(pad(t.length)));
  }
  fs.closeSync(output);
  fs.closeSync(input);
  return config;
}
