"""OpenVINO GenAI's continuous batching on a GGUF file, for bench/compare.py (see rival_worker.py)."""

import rival_worker

import openvino as ov
import openvino_genai as genai

MODEL, THREADS, SEQUENCES, TOKENS, SETTINGS = rival_worker.arguments()

scheduler = genai.SchedulerConfig()
scheduler.max_num_batched_tokens = SETTINGS["batched_tokens"]
scheduler.max_num_seqs = SEQUENCES
scheduler.cache_size = 2  # GB: more than all sequences fill
scheduler.enable_prefix_caching = False
pipeline = genai.ContinuousBatchingPipeline(
    MODEL, scheduler, "CPU", {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": SETTINGS["hint"],
                              "KV_CACHE_PRECISION": SETTINGS["kv"]})


def generate(prompts, n):
    config = genai.GenerationConfig(max_new_tokens=n, ignore_eos=True, do_sample=False)
    tensors = [ov.Tensor([ids]) for ids in prompts]
    results = pipeline.generate(tensors, [config] * len(prompts))
    return sum(len(result.m_generation_ids[0]) for result in results)


rival_worker.serve(genai.__version__, generate)
