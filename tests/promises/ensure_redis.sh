#!/bin/sh
# The promises are tested on Redis too: take the redis-server that is there, else install Debian's as root without starting it,
# else say so (the rows of Redis skip, with the reason). With REQUIRE_SERVERS a missing one is an error.
set -u
command -v redis-server >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing redis-server for the tests"
    policy=/usr/sbin/policy-rc.d # what Debian asks before it starts a service
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    (apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server) >/dev/null 2>&1
    command -v redis-server >/dev/null 2>&1 && exit 0
fi
echo "no redis-server found: the promises will be tested on Valkey only (apt-get install redis-server)" >&2
[ -z "${REQUIRE_SERVERS:-}" ]
