"""Transformers modules: for hooks, for models that the engine cannot run, for quantized and offloaded ones."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from .engine import LlamaEngine


def quietly() -> None:
    """Silence progress bars of transformers and the repeated cast warning of bitsandbytes."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*MatMul8bitLt.*")
    warnings.filterwarnings("ignore", message=".*cast from.*float16.*")


def memory_map(gpu_gb: float | None, cpu_gb: float | None, n_gpus: int) -> dict[int | str, str]:
    """Return Accelerate's memory caps: one for each visible GPU, one for the CPU.

    Raises:
        ValueError: a cap is not above 0.
    """
    for name, cap in (("max_gpu_memory_gb", gpu_gb), ("max_cpu_memory_gb", cpu_gb)):
        if cap is not None and not cap > 0:
            raise ValueError(f"optimization.{name}: found {cap}; allowed is a number of gigabytes above 0, or null")
    caps: dict[int | str, str] = {}
    if gpu_gb is not None:
        caps.update({number: _gib(gpu_gb) for number in range(n_gpus)})
    if cpu_gb is not None:
        caps["cpu"] = _gib(cpu_gb)
    return caps


def _gib(value: float) -> str:
    return f"{int(value * 1024)}MiB"


def offload_folder(named: str | None) -> Path:
    """Return a folder for weights on disk that can be written.

    Raises:
        ValueError: it cannot.
    """
    folder = Path(named) if named else Path(tempfile.mkdtemp(prefix="quintet-offload-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(f"optimization.offload_folder: found {str(folder)!r}; allowed is a folder that can be written")
    return folder


def quantization_settings(kind: str, dtype: Any, offloaded: bool = False) -> dict[str, Any]:
    """Return what `from_pretrained` takes for a quantization; parts that are offloaded to the CPU stay unquantized.

    Raises:
        ValueError: bitsandbytes is not installed, or has no such quantization.
    """
    if kind == "none":
        return {}
    if kind == "int8dyn":
        raise ValueError(
            "optimization.use_quantization: found 'int8dyn'; it needs a Llama-type model in safetensors that stays "
            "whole in memory; allowed are none, nf4, int8"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(f"optimization.use_quantization: {kind!r} needs the package bitsandbytes; install it")
    from transformers import BitsAndBytesConfig

    if kind == "nf4":
        settings = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    else:
        settings = BitsAndBytesConfig(load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=offloaded)
    return {"quantization_config": settings}


def load_module(
    folder: Path,
    dtype: Any,
    place: str,
    quantization: str = "none",
    caps: Any = None,
    memory: dict[int | str, str] | None = None,
) -> Any:
    """Return a causal language model of a folder.

    Args:
        folder: in Hugging Face's layout; the network is never asked.
        dtype: of the weights.
        place: device.
        quantization: none, nf4 or int8.
        caps: (GPU gigabytes, CPU gigabytes, offload folder), or nothing.
        memory: what each device takes at most, in place of the gigabytes.

    Raises:
        ValueError: the model has no decoder blocks at `model.layers`, or an option is not allowed.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quietly()
    settings: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    settings |= quantization_settings(quantization, dtype, offloaded=caps is not None)
    if caps is not None:
        gpu, cpu, named = caps
        settings["max_memory"] = memory or memory_map(gpu, cpu, torch.cuda.device_count())
        settings["device_map"] = "auto"
        settings["offload_folder"] = str(offload_folder(named))
    elif quantization != "none":
        settings["device_map"] = {"": "cpu" if place.startswith("cpu") else place}
    module = AutoModelForCausalLM.from_pretrained(str(folder), **settings)
    if not hasattr(getattr(module, "model", None), "layers"):
        raise ValueError(f"{folder}: {type(module).__name__} has no decoder blocks at model.layers")
    if caps is None and quantization == "none":
        cast("Any", module).to("cpu" if place.startswith("cpu") else place)
    return module.eval()


def shared_module(engine: LlamaEngine, folder: Path | None) -> Any:
    """Return a module whose weights are views of the engine's."""
    import torch
    from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    quietly()
    a = engine.architecture
    if folder is None:
        config: Any = LlamaConfig(
            vocab_size=a.vocabulary,
            hidden_size=a.hidden,
            intermediate_size=a.mlp,
            num_hidden_layers=a.blocks,
            num_attention_heads=a.heads,
            num_key_value_heads=a.kv_heads,
            max_position_embeddings=a.max_position,
            rms_norm_eps=a.epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": a.theta},
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=a.vocabulary - 1,
        )
        kind: Any = LlamaForCausalLM
    else:
        config = AutoConfig.from_pretrained(str(folder))
        kind = None
    with torch.device("meta"):
        module = kind(config) if kind is not None else AutoModelForCausalLM.from_config(config)
    queries, keys = a.heads * a.head_size, a.kv_heads * a.head_size
    weights = engine.weights
    state = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.norm}
    state["lm_head.weight"] = weights.head
    for index, block in enumerate(weights.blocks):
        part = f"model.layers.{index}."
        state |= {
            f"{part}input_layernorm.weight": block.norm1,
            f"{part}self_attn.q_proj.weight": block.qkv[:queries],
            f"{part}self_attn.k_proj.weight": block.qkv[queries : queries + keys],
            f"{part}self_attn.v_proj.weight": block.qkv[queries + keys :],
            f"{part}self_attn.o_proj.weight": block.out,
            f"{part}post_attention_layernorm.weight": block.norm2,
            f"{part}mlp.gate_proj.weight": block.gate_up[: a.mlp],
            f"{part}mlp.up_proj.weight": block.gate_up[a.mlp :],
            f"{part}mlp.down_proj.weight": block.down,
        }
    module.load_state_dict(state, assign=True)
    _rotary_on_cpu(module, config)
    return module.eval()


def _rotary_on_cpu(module: Any, config: Any) -> None:
    """Make the rotary frequencies anew: buffers that are not saved stay on the meta device otherwise."""
    module.model.rotary_emb = type(module.model.rotary_emb)(config)


def quantized_modules(module: Any) -> Sequence[str]:
    """Return the class names of a module's parts, for telling what was quantized."""
    return sorted({type(part).__name__ for part in module.modules()})


def is_offloaded(module: Any) -> bool:
    """Return whether parts of a module lie on disk."""
    return "disk" in set(getattr(module, "hf_device_map", {}).values())
