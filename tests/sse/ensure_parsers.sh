#!/bin/sh
# The tests of the wire format ask parsers from npm: install the pinned ones beside this file when node is there, else say
# so (their tests skip, with the reason).
set -u
cd "$(dirname "$0")" || exit 0
if ! command -v npm >/dev/null 2>&1 || ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then
    echo "no npm and node of 20 or newer found: parsers from npm will not judge the wire format" >&2
    exit 0
fi
cmp -s package-lock.json node_modules/.installed && exit 0
echo "installing parsers from npm for the tests of the wire format"
if npm ci --ignore-scripts --silent; then
    cp package-lock.json node_modules/.installed
else
    echo "npm ci failed: parsers from npm will not judge the wire format" >&2
fi
exit 0
