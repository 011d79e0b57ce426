"""Tiny models of many architectures, made on the spot."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

VOCABULARY = 40
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "mask_token_id": 3,
}
_GROUPED = {"num_key_value_heads": 2}
DECODERS = {
    "llama": _GROUPED,
    "mistral": _GROUPED | {"sliding_window": None},
    "qwen2": _GROUPED,
    "qwen3": _GROUPED | {"head_dim": 8},
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "gpt2": {"n_positions": 512},
    "gpt_neox": {},
    "phi": {},
    "olmo2": {},
    "starcoder2": _GROUPED,
    "smollm3": _GROUPED,
    "granite": _GROUPED,
}
ENCODERS = {
    "bert": {},
    "roberta": {},
    "electra": {},
    "esm": {"position_embedding_type": "rotary"},
    "esmc": {},
    "modernbert": {"global_attn_every_n_layers": 1},
    "eurobert": {},
}


def tiny_transformer(name, **changes):
    """A model for language modeling, causal or masked, with random weights that are not small."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **_SIZES | DECODERS.get(name, {}) | ENCODERS.get(name, {}) | changes)
    model = (AutoModelForMaskedLM if name in ENCODERS else AutoModelForCausalLM).from_config(config).eval()
    with torch.no_grad():  # as initialised, attention is nearly uniform
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3)
    return model


def padded_batch(causal, lengths=(50, 43)):
    """Ids of sequences of different lengths, padded on the left for decoders, as their inputs are in `generate`."""
    torch.manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (len(lengths), max(lengths)))
    positions = torch.arange(max(lengths))
    pads = torch.tensor([max(lengths) - length for length in lengths])[:, None]
    mask = positions >= pads if causal else positions < max(lengths) - pads
    batch = {"input_ids": ids * mask, "attention_mask": mask.long()}
    return batch | {"position_ids": (mask.long().cumsum(-1) - 1).clamp_min(0)} if causal else batch
