"""vLLM's CPU build on the weights of a GGUF file, written out in bfloat16, for bench/compare.py (see
rival_worker.py)."""

import os
import pathlib
import tempfile

import rival_worker

MODEL, THREADS, SEQUENCES, TOKENS, SETTINGS = rival_worker.arguments()
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "2"  # GB: more than all sequences fill
os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{THREADS - 1}"
os.environ["VLLM_NO_USAGE_STATS"] = "1"

import torch         # noqa: E402
import transformers  # noqa: E402
import vllm          # noqa: E402


def write_out(path, folder):
    """The decoded weights as a model of their own: one that came from GGUF cannot be saved."""
    read = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.bfloat16)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)


def main():
    path = pathlib.Path(MODEL)
    with tempfile.TemporaryDirectory(prefix="sluice-vllm-") as folder:
        write_out(path, folder)
        model = vllm.LLM(folder, dtype="bfloat16", skip_tokenizer_init=True, max_model_len=TOKENS + 16,
                         max_num_seqs=SEQUENCES, max_num_batched_tokens=SETTINGS["batched_tokens"],
                         enable_prefix_caching=False)

    def generate(prompts, n):
        options = vllm.SamplingParams(temperature=0, max_tokens=n, ignore_eos=True, detokenize=False)
        answers = model.generate([{"prompt_token_ids": ids} for ids in prompts], options, use_tqdm=False)
        return sum(len(answer.outputs[0].token_ids) for answer in answers)
    rival_worker.serve(vllm.__version__, generate)


if __name__ == "__main__":
    main()
