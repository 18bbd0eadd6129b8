"""What memory and arithmetic of this machine allow a row: the roofline of its steps, from the limits
that `sluice bench --roofline` measures. Standard library only."""

import json

import rivals
import showlib


def model_facts(model):
    """Weights and shapes that a step costs, of `sluice inspect --json` and `bench --roofline`."""
    data = json.loads(showlib.sluice("inspect", model, "--json"))
    metadata = {key: entry.get("value") for key, entry in data["metadata"].items()}
    arch = metadata["general.architecture"]

    def value(key, default=None):
        return metadata.get(f"{arch}.{key}", default)
    n_head = value("attention.head_count")
    return {"kv_bytes_per_token": data["kv_bytes_per_token"], "n_layer": value("block_count"),
            "n_head": n_head,
            "d_head": value("attention.key_length", value("embedding_length") // n_head)}


def measure(work, model, threads):
    """Limits of the machine and the bytes of all products of the model."""
    text = rivals.run([showlib.SLUICE, "bench", model, "--roofline", "--batch", 1, "--threads", threads,
                       "--json"], work.mask)
    machine, *operations = map(json.loads, text.splitlines())
    products = [one for one in operations if "matrices" in one]
    return {**machine, "weight_bytes": sum(one["bytes"] for one in products),
            "weights": sum(one["matrices"] * one["n_in"] * one["n_out"] for one in products)}


def step(work, facts, machine):
    """The least time of one step of generation that a row times, in the middle of its generation:
    weights once, keys and values of every sequence, against reading; products of int8 values with
    their scales and attention in float32, against arithmetic. Whichever takes longer bounds it."""
    context = work.depth + work.prompt + work.gen / 2
    n_bytes = machine["weight_bytes"] + work.batch * context * facts["kv_bytes_per_token"]
    read_s = n_bytes / (machine["read_gbps"] * 1e9)
    attention = 4 * facts["n_layer"] * facts["n_head"] * facts["d_head"] * context
    int8_s = 2 * work.batch * machine["weights"] / (machine["scaled_gops"] * 1e9)
    ops_s = int8_s + work.batch * attention / (machine["f32_gops"] * 1e9)
    return {"read_gbps": machine["read_gbps"], "scaled_gops": machine["scaled_gops"],
            "f32_gops": machine["f32_gops"], "mbytes_per_step": round(n_bytes / 1e6, 1),
            "bound": "memory" if read_s >= ops_s else "arithmetic",
            "tps": work.batch / max(read_s, ops_s)}


def of(work, model, threads):
    """The limit of a row that generates, dense models only."""
    return step(work, model_facts(model), measure(work, model, threads))


def share_text(result):
    """What part of its limit a result reaches, in words; both figures it comes from."""
    limit = result["limit"]
    return (f"{result['share']:.0%} of the {limit['tps']:,.0f} tokens/s that {limit['bound']} allows "
            f"({limit['mbytes_per_step']:,.0f} MB a step at {limit['read_gbps']:.1f} GB/s)")
