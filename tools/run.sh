#!/usr/bin/env bash
# `make run`: from a bare machine to an answer and a server. Quick when all is there already.
. "$(dirname "$0")/common.sh"
port=${PORT:-8080}
prompt=${PROMPT:-What is the capital of France? Answer in one sentence.}

case "$port" in
'' | *[!0-9]*) die "PORT must be a number, not '$port'" ;;
esac
tools/setup.sh run
say "build: build/sluice"
build_preset release sluice
model=${MODEL:-}
if [ -z "$model" ]; then
    model=$(tools/fetch.py model)/SmolLM2-135M-Instruct.Q4_1.gguf
fi
[ -f "$model" ] || die "there is no file $model"

say ""
say "> $prompt"
build/sluice run "$model" -p "$prompt" -n 64
say ""
say "Serving at http://127.0.0.1:$port - another terminal can ask it:"
say ""
say "  curl http://127.0.0.1:$port/v1/chat/completions -H 'Content-Type: application/json' \\"
say "       -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'"
say ""
exec build/sluice serve "$model" --host 127.0.0.1 --port "$port"
