"""The scripts that run inside Redis: every decision about a stream that must be atomic.

KEYS are the log (a stream) and the state (a hash), which share a hash tag; the state may come as the first argument
instead, where a cluster moves their slot (see `_cluster`). The state's fields:

    g   generation: the time of the newest claim, in ms
    gs  every generation with the sequence number before its first event: "g1:0;g2:57"
    l   when the lease runs out, in ms of the server's clock; 0 when the stream has ended
    ld  how long a lease lasts, in ms
    t   how long the keys live after the last renewal or the end, in ms
    w   how long a stream whose lease ran out waits for another producer, in ms
    s   "1" when somebody asked the stream to stop
    o   a token of the newest claim, so that a claim whose reply was lost can be repeated
    b   from when on a stream whose lease ran out counts as abandoned, in ms; unset while the producer is alive

An append checks, writes and publishes in one step. Plain pipelined commands would need one round trip no more, but a
producer that has been fenced would still publish what its log refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """The source of a script and the name that Redis gives it."""

    source: bytes
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest.encode())


POKE: Final = b"!"
"""What is published when readers should look at the log themselves."""

_PRELUDE: Final = """
local log, state = KEYS[1], KEYS[2] or table.remove(ARGV, 1)
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function int(n) return string.format('%.0f', n) end
local function last()
  local entry = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if not entry then return 0, 0, nil, nil end
  local g, s = string.match(entry[1], '^(%d+)-(%d+)$')
  return tonumber(g), tonumber(s), entry[2][1], entry[2][2]
end
-- An ended log gives back the room that Redis keeps ready for entries to come, up to 4 KiB: a copy has none. Where that
-- is not permitted, or would take long, the log stays as it is.
local function fit()
  local copy = log .. ':fit'
  if redis.call('XLEN', log) >= 5000 or redis.pcall('COPY', log, copy, 'REPLACE') ~= 1 then return end
  if redis.pcall('RENAME', copy, log).err then redis.call('DEL', copy) end
end
"""


def _script(body: str) -> Script:
    return Script((_PRELUDE + body).encode())


# ARGV: channel, lease ms (0: for a stream that waits for its producer), retention ms, token, takeover ms,
#   which (0: any, 1: one that is there, 2: a new one).
# Returns {'live'} | {'ended'} | {'missing'} | {'ok', generation, head sequence, stop flag}.
# A fresh log is made by writing and deleting entry <generation>-0: the key exists, nothing can be appended with an
# older id, and there is nothing to read. A log that is taken over gets a 'restarted' event, which fences at once; where
# nothing was ever written it stays the same log, for those who wait at it already.
CLAIM: Final = _script("""
local channel, lease, retention, wait = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local st = redis.call('HMGET', state, 'g', 'l', 'gs', 's', 'o')
local lg, head, kind = last()
if kind == 'end/json' then return {'ended'} end
if st[5] == ARGV[4] then return {'ok', st[1], int(head), st[4] or ''} end
local t = now()
if st[1] and tonumber(st[2]) > t then return {'live'} end
if ARGV[6] == '2' and st[1] then return {'live'} end
if ARGV[6] == '1' and (not st[1] or redis.call('EXISTS', log) == 0) then return {'missing'} end
local gone = not st[1] and redis.pcall('GET', log .. ':gone')
local before = tonumber(st[1] or (type(gone) == 'string' and gone) or '0')
local gen = math.max(t, before + 1, lg + 1)
local gens
if head > 0 then
  gens = (st[3] and (st[3] .. ';') or '') .. int(gen) .. ':' .. int(head)
  head = head + 1
  redis.call('XADD', log, int(gen) .. '-' .. int(head), 'restarted', '')
else
  local first = st[1] and st[3] and st[1] .. '-1'
  if first and type(redis.pcall('XADD', log, 'NOMKSTREAM', first, 'claim', '')) == 'string' then
    gens = st[3] .. ';' .. int(gen) .. ':0'
  else
    gens = int(gen) .. ':0'
    redis.call('DEL', log)
  end
  if first then redis.call('XDEL', log, first) end
  redis.call('XADD', log, int(gen) .. '-0', 'claim', '')
  redis.call('XDEL', log, int(gen) .. '-0')
end
redis.call('HSET', state, 'g', int(gen), 'gs', gens, 'l', int(t + lease), 'ld', int(lease), 't', int(retention),
  'o', ARGV[4], 'w', int(wait))
if lease > 0 then redis.call('HDEL', state, 'b') else redis.call('HSET', state, 'b', int(t)) end
redis.call('PEXPIRE', state, retention + lease + wait)
redis.call('PEXPIRE', log, retention + lease + wait)
redis.call('SPUBLISH', channel, '!')
return {'ok', int(gen), int(head), st[4] or ''}
""")

# ARGV: channel, generation, first sequence, max entries (0: no bound), renew (0/1/2), end (0/1), message,
#   field, value, …
# Without entries the message tells readers that the producer is alive, and what comes next.
# Returns {'lost'} | {'fenced'} | {'behind', head sequence} | {'ok', stop flag} | an error of Redis (out of memory …).
# An id that is there already was written by an earlier attempt of the same append: only the holder of the
# generation gets here, and it never uses an id twice for different events.
# 'behind' says that what was acknowledged before is not there: a failover lost it. The producer writes again what it
# still has of it, with renew 2, which takes what is missing then as it is. XLEN is the cheap way to see that nothing is
# missing; where the log was trimmed it cannot tell.
APPEND: Final = _script("""
local st = redis.call('HMGET', state, 'g', 's', 'ld', 't', 'b', 'w')
if not st[1] then return {'lost'} end
if st[1] ~= ARGV[2] then return {tonumber(st[1]) > tonumber(ARGV[2]) and 'fenced' or 'lost'} end
local argv, generation, seq, bound = ARGV, ARGV[2], tonumber(ARGV[3]), ARGV[4]
if ARGV[5] ~= '2' and redis.pcall('XLEN', log) ~= seq - 1 then
  local _, head = last()
  if head < seq - 1 then return {redis.call('EXISTS', log) == 1 and 'behind' or 'lost', int(head)} end
end
local counts
for i = 8, #argv, 2 do
  local id, reply = counts or generation .. '-' .. int(seq)
  if bound == '0' then
    reply = redis.pcall('XADD', log, 'NOMKSTREAM', id, argv[i], argv[i + 1])
  else
    reply = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', bound, id, argv[i], argv[i + 1])
  end
  if not reply then return {'lost'} end
  if type(reply) ~= 'table' then
    counts = generation .. '-*'
  elseif not string.find(reply.err, 'equal or smaller', 1, true) then
    return reply
  end
  seq = seq + 1
end
if ARGV[6] == '1' then
  redis.call('HSET', state, 'l', '0')
  redis.call('HDEL', state, 'b')
  redis.call('PEXPIRE', state, st[4])
  redis.call('PEXPIRE', log, st[4])
  fit()
elseif ARGV[5] ~= '0' or st[5] then
  redis.call('HSET', state, 'l', int(now() + st[3]))
  redis.call('HDEL', state, 'b')
  local life = st[4] + st[3] + (st[6] or 0)
  redis.call('PEXPIRE', state, life)
  if redis.call('PEXPIRE', log, life) == 0 then return {'lost'} end
end
redis.call('SPUBLISH', ARGV[1], ARGV[7])
return {'ok', st[2] or ''}
""")

# ARGV: none. Returns false when there is nothing, else
# {generation, generations, lease left in ms (-1: none), log there (0/1), last id, last field, last value when it ends,
# stop flag, abandoned (0/1)}.
PEEK: Final = _script("""
local st = redis.call('HMGET', state, 'g', 'gs', 'l', 's', 'b')
local there = redis.call('EXISTS', log)
if not st[1] and there == 0 then return false end
local g, s, kind, value = last()
local left = -1
local t = now()
if st[3] then left = math.max(0, tonumber(st[3]) - t) end
local abandoned = left == 0 and st[5] and tonumber(st[5]) <= t and 1 or 0
if kind ~= 'end/json' then value = '' end
return {st[1] or '', st[2] or '', int(left), int(there), int(g) .. '-' .. int(s), kind or '', value or '', st[4] or '',
  abandoned}
""")

# ARGV: channel, grace ms, retention ms for a log without state, terminal value, at once (0/1).
# Returns {'gone'} | {'ended'} | {'live', ms to wait before asking again} | {'buried'}.
# The first who finds a lease run out only sets a date, and a renewal strikes it: after an outage of Redis itself, a
# producer that is alive gets its chance to say so. After that date the stream is abandoned: it is buried at once, or
# when it has waited long enough for another producer.
BURY: Final = _script("""
if redis.call('EXISTS', log) == 0 then return {'gone'} end
local lg, head, kind = last()
if kind == 'end/json' then return {'ended'} end
local t = now()
local st = redis.call('HMGET', state, 'g', 'l', 'gs', 't', 'b', 'w')
if st[1] then
  local left = tonumber(st[2]) - t
  if left > 0 then return {'live', int(left)} end
  if not st[5] then
    redis.call('HSET', state, 'b', int(t + tonumber(ARGV[2])))
    return {'live', ARGV[2]}
  end
  local due = tonumber(st[5])
  if ARGV[5] ~= '1' then due = math.max(due, tonumber(st[2]) + tonumber(st[6] or '0')) end
  if due > t then return {'live', int(due - t)} end
end
local gen = int(math.max(t, tonumber(st[1] or '0') + 1, lg + 1))
local retention = tonumber(st[4] or ARGV[3])
local gens = (st[3] and (st[3] .. ';') or '') .. gen .. ':' .. int(head)
redis.call('XADD', log, gen .. '-' .. int(head + 1), 'end/json', ARGV[4])
if st[1] then
  redis.call('HSET', state, 'g', gen, 'gs', gens, 'l', '0')
  redis.call('PEXPIRE', state, retention)
end
redis.call('PEXPIRE', log, retention)
fit()
redis.call('SPUBLISH', ARGV[1], '!')
return {'buried'}
""")

# ARGV: channel, generation. Returns {'lost'} | {'fenced'} | {'ok'}.
# The lease runs out at once, and with the message its heirs and readers look.
RELEASE: Final = _script("""
local g = redis.call('HMGET', state, 'g')[1]
if not g then return {'lost'} end
if g ~= ARGV[2] then return {'fenced'} end
local t = int(now())
redis.call('HSET', state, 'l', t, 'b', t)
redis.call('SPUBLISH', ARGV[1], '!')
return {'ok'}
""")

# ARGV: control channel. Returns 'missing' | 'ended' | 'asked'.
CANCEL: Final = _script("""
local _, _, kind = last()
if kind == 'end/json' then return 'ended' end
if redis.call('EXISTS', state) == 0 then return 'missing' end
redis.call('HSET', state, 's', '1')
redis.call('SPUBLISH', ARGV[1], '!')
return 'asked'
""")

# ARGV: channel, control channel. Returns how many keys were removed.
# A stream that is deleted in the millisecond of its claim leaves its generation for a moment: a claim in the same
# millisecond would have the same one, and the old producer would not be fenced.
DELETE: Final = _script("""
local g = redis.call('HMGET', state, 'g')[1]
if g and tonumber(g) >= now() then redis.pcall('SET', log .. ':gone', g, 'PX', 1000) end
local n = redis.call('DEL', log) + redis.call('DEL', state)
if n > 0 then
  redis.call('SPUBLISH', ARGV[1], '!')
  redis.call('SPUBLISH', ARGV[2], '!')
end
return n
""")
