#!/usr/bin/env python3
"""Holds a folder that d2nwg published against transformers, peft and safetensors.

    python3 internal/tools/check_transformers.py FOLDER [--base FOLDER] [--no-adapter]

FOLDER is a checkpoint, a patch (variant.safetensors) or a PEFT adapter (adapter_config.json; --base names its base). A checkpoint
also gets a random adapter, saved and loaded again by peft. Prints one line a check; exits with 1 when one failed or
could not be made, 2 for a wrong command line. Needs: pip install torch transformers peft safetensors
"""

import argparse
import json
import os
import sys
import tempfile

failures = 0


def check(name, ok, detail=""):
    """Prints one line and remembers a failure."""
    global failures
    if not ok:
        failures += 1
    print(f"{'ok  ' if ok else 'FAIL'} {name}{': ' + str(detail) if detail != '' else ''}")
    return ok


def weight_files(folder):
    """The safetensors files of a checkpoint, by its index where it has one."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            return sorted(set(json.load(f)["weight_map"].values()))
    return ["model.safetensors"]


def read_tensors(path):
    """Name, dtype and shape of every tensor, as the safetensors library reads them."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as f:
        return {name: f.get_tensor(name) for name in f.keys()}


def check_checkpoint(folder, with_adapter):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    check("config", config.model_type == "llama", config.model_type)
    stored = {}
    for name in weight_files(folder):
        stored.update(read_tensors(os.path.join(folder, name)))
    model, info = AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto", output_loading_info=True)
    model.eval()
    wanted = set(model.state_dict())
    tied = bool(config.tie_word_embeddings)
    if tied:
        wanted.discard("lm_head.weight")
    found = {name for name in stored if not name.endswith(".rotary_emb.inv_freq") and not (tied and name == "lm_head.weight")}
    check("tensors", found == wanted, f"{len(found)} stored, {len(wanted)} wanted {sorted(found ^ wanted)[:5]}")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        check(kind.replace("_", " "), not info.get(kind), info.get(kind) or "none")
    same = model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    check("tied weights", same == tied, f"config says {tied}, loaded {same}")
    dtypes = {str(t.dtype) for t in stored.values()}
    check("dtype", {str(p.dtype) for p in model.parameters()} == dtypes, sorted(dtypes))
    check("finite weights", all(bool(torch.isfinite(t.float()).all()) for t in stored.values()))
    logits = forward(model, config.vocab_size)
    check("forward pass", bool(torch.isfinite(logits).all()) and logits.shape[-1] == config.vocab_size, tuple(logits.shape))
    check_tokenizer(folder, config)
    if with_adapter:
        check_random_adapter(folder, model, logits, config.vocab_size)


def forward(model, vocabulary):
    import torch

    ids = torch.arange(8).remainder(vocabulary).unsqueeze(0)
    with torch.no_grad():
        return model(ids).logits.float()


def check_tokenizer(folder, config):
    if not os.path.exists(os.path.join(folder, "tokenizer_config.json")):
        return print("skip tokenizer: the folder has no tokenizer_config.json")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("hello")["input_ids"]
    check("tokenizer", ids and max(ids) < config.vocab_size, ids)


def check_random_adapter(folder, model, before, vocabulary):
    """peft puts an adapter on the checkpoint, saves it, and loads it onto the checkpoint again."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(model, config).eval()
    changed = forward(adapted, vocabulary)
    check("adapter", bool(torch.isfinite(changed).all()) and not torch.equal(changed, before), "changes the logits")
    with tempfile.TemporaryDirectory() as temp:
        adapted.save_pretrained(temp)
        again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto"), temp).eval()
        check("adapter loaded again", torch.allclose(forward(again, vocabulary), changed, atol=1e-2))


def check_adapter(folder, base):
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForCausalLM

    config = PeftConfig.from_pretrained(folder)
    check("adapter config", config.peft_type == "LORA" and config.task_type == "CAUSAL_LM", f"{config.peft_type} {config.task_type}")
    stored = read_tensors(os.path.join(folder, "adapter_model.safetensors"))
    check("finite weights", all(bool(torch.isfinite(t.float()).all()) for t in stored.values()), f"{len(stored)} tensors")
    model = AutoModelForCausalLM.from_pretrained(base or config.base_model_name_or_path, torch_dtype="auto").eval()
    vocabulary = model.config.vocab_size
    before = forward(model, vocabulary)
    adapted = PeftModel.from_pretrained(model, folder).eval()
    loaded = sum(1 for name in adapted.state_dict() if "lora_" in name)
    check("adapter tensors", loaded == len(stored), f"{len(stored)} stored, {loaded} loaded")
    after = forward(adapted, vocabulary)
    check("forward pass", bool(torch.isfinite(after).all()) and not torch.equal(before, after), tuple(after.shape))


def check_patch(folder):
    import torch

    with open(os.path.join(folder, "variant.json"), encoding="utf-8") as f:
        listed = json.load(f)["tensors"]
    stored = read_tensors(os.path.join(folder, "variant.safetensors"))
    check("tensors", set(stored) == set(listed), f"{len(stored)} stored, {len(listed)} listed")
    check("finite weights", all(bool(torch.isfinite(t.float()).all()) for t in stored.values()))


def missing_packages(names):
    missing = []
    for name in names:
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    return missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--base", help="the base's folder, for an adapter")
    parser.add_argument("--no-adapter", action="store_true", help="don't put an adapter on a checkpoint")
    args = parser.parse_args()
    if not os.path.isdir(args.folder):
        parser.error(f"{args.folder} is no folder")
    missing = missing_packages(["torch", "transformers", "peft", "safetensors"])
    if missing:
        sys.exit(f"check_transformers: not checked, these packages are missing: {', '.join(missing)} (pip install {' '.join(missing)})")
    holds = lambda name: os.path.exists(os.path.join(args.folder, name))
    try:
        if holds("adapter_config.json"):
            check_adapter(args.folder, args.base)
        elif holds("variant.json"):
            check_patch(args.folder)
        else:
            check_checkpoint(args.folder, not args.no_adapter)
    except Exception as err:  # whatever a library raises is a failed check, in one line
        check("loading", False, f"{type(err).__name__}: {' '.join(str(err).split())}")
    print(f"{failures} checks failed" if failures else "all checks passed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
