#!/bin/sh
# The browser tests need a Chromium: take the system's, else install Debian's as root, else say so (the tests skip, with the reason).
set -u
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing chromium for the browser tests"
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium) >/dev/null 2>&1 && exit 0
fi
echo "no Chromium found: the browser tests will be skipped (install chromium, or set CHROMIUM=/path/to/it)" >&2
exit 0
