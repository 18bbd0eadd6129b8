"""sluice plan: users, memory and times foretold."""

import json

import pytest

from conftest import misused, refused, sluice


def plan(model, *args):
    return json.loads(sluice("plan", model, "--json", *args, check=0).out)


def test_more_users_take_more_memory_and_time(tiny, tmp_path):
    told = plan(tiny, "--users", 12, "--context", 100, "--prompt", 60, "--packed-cache", tmp_path)
    assert (told["context"], told["prompt"]) == (100, 60)
    rows = told["rows"]
    assert [row["users"] for row in rows] == [1, 2, 4, 8, 12]
    for row in rows:
        assert row["fits"] and row["kv_bytes"] == row["users"] * rows[0]["kv_bytes"]
        assert row["token_ms"] > 0 and row["first_token_ms"] > 0
        assert row["tokens_per_second"] == pytest.approx(1e3 * row["users"] / row["token_ms"], rel=0.05)
    assert [row["token_ms"] for row in rows] == sorted(row["token_ms"] for row in rows)
    if list(tmp_path.glob("*.calibration")):  # what was measured, unless that was disturbed, is what is used again
        again = plan(tiny, "--users", 12, "--context", 100, "--prompt", 60, "--packed-cache", tmp_path)["rows"]
        assert [row["token_ms"] for row in again] == pytest.approx([row["token_ms"] for row in rows], rel=0.01, abs=0.002)


def test_users_who_do_not_fit(tiny):
    told = plan(tiny, "--users", 300, "--context", 64)
    assert told["users_most"] == 256  # the places of a server
    assert [row["fits"] for row in told["rows"]] == [True] * 9 + [False]
    told = plan(tiny, "--users", 8, "--context", 128, "--kv-memory", "64K")
    assert told["users_most"] == 2 and [row["fits"] for row in told["rows"]] == [True, True, False, False]
    text = sluice("plan", tiny, "--users", 300, "--context", 64, check=0).out.decode()
    assert text.count("does not fit at once") == 1 and "256 users at once" in text


def test_refusals(tiny, tmp_path):
    refused(sluice("plan", tmp_path / "none.gguf"), "no such file")
    refused(sluice("plan", tiny, "--context", 100, "--prompt", 100), "no room", "--prompt")
    misused(sluice("plan", tiny, "--users", 0), "--users")
    misused(sluice("plan"), "MODEL")
