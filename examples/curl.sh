#!/bin/sh
# Sends a message, follows the answer for two seconds, hangs up, and resumes where it was.
#
#     sh examples/curl.sh http://localhost:8000 "Tell me something long"
set -eu
base=${1:-http://localhost:8000}
message=${2:-Tell me something long}

# A message for a new thread. The answer comes at once and names thread, run and stream.
reply=$(curl -sS --fail-with-body "$base/v1/chat/message" \
    -H 'Content-Type: application/json' -d "{\"message\": \"$message\"}")
echo "$reply"
thread=$(echo "$reply" | sed 's/.*"thread_id": *"\([^"]*\)".*/\1/')

# -N: print what comes as it comes. --max-time stands for a connection that breaks.
part=$(mktemp)
trap 'rm -f "$part"' EXIT
curl -sSN --max-time 2 "$base/v1/chat/stream?thread_id=$thread" 2>/dev/null | tee "$part" || true

# A frame ends with a blank line; the cursor is the id of the last frame that came whole.
cursor=$(awk '/^id: / { id = $2 } /^$/ { last = id } END { print last }' "$part")
echo "--- resumed after $cursor"
curl -sSN -H "Last-Event-ID: $cursor" "$base/v1/chat/stream?thread_id=$thread"
