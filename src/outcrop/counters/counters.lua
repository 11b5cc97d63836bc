-- Everything that is counted in Valkey is counted here: one call is one step for all workers.
-- In: one msgpack array {operation, worker, seen, elapsed, given}. Out: {now, forgotten, answer}.
-- Times are milliseconds. Nothing has a time to live: Valkey's clock may be set.

local P = '{outcrop}:'
local WORKER_MS = 3000   -- a worker that was not heard of for so long is dead
local STEADY_MS = 2000   -- somebody calls more often than this while anybody lives
local HELD_RETRY_MS = 1000
local SWEEP = 500        -- of what is to be forgotten, in one call

local function ledger_of(worker) return P .. 'worker:' .. worker end
local function held_name(key) return P .. 'held:' .. key end

-- The time, as it goes on whatever is done to Valkey's clock: by what passed between two calls.
-- Where that is not to be believed, by what passed for the caller since an earlier answer.
local function present(seen, elapsed)
  local time = redis.call('TIME')
  local wall = time[1] * 1000 + math.floor(time[2] / 1000)
  local last = redis.call('HMGET', P .. 'clock', 'wall', 'now')
  local now = wall
  if last[1] then
    local before = tonumber(last[2])
    local passed = wall - tonumber(last[1])
    if seen >= 0 and (passed < 0 or passed > STEADY_MS) then
      local told = seen + elapsed - before
      passed = passed < 0 and told or math.min(passed, told)
    end
    now = before + math.max(0, passed)
  end
  redis.call('HSET', P .. 'clock', 'wall', wall, 'now', now)
  return now
end

local function drop_old(w)
  local first = w.bucket - w.buckets
  if w.oldest >= first then return end
  if w.oldest + w.buckets < first then
    redis.call('DEL', w.name)
    w.total, w.oldest, w.new = 0, w.bucket, true
    return
  end
  local names = {}
  for number = w.oldest, first - 1 do names[#names + 1] = number end
  for _, amount in ipairs(redis.call('HMGET', w.name, unpack(names))) do
    if amount then w.total = w.total - tonumber(amount) end
  end
  redis.call('HDEL', w.name, unpack(names))
  redis.call('HSET', w.name, 'total', w.total, 'oldest', first)
  w.oldest = first
end

local function window(key, span, now)
  local step = math.max(1, math.floor(span / 1440)) * 1000
  local name = P .. 'span:' .. span .. ':' .. key
  local known = redis.call('HMGET', name, 'total', 'oldest')
  local w = {
    name = name, step = step, buckets = math.ceil(span * 1000 / step),
    bucket = math.floor(now / step), total = tonumber(known[1]) or 0, new = not known[2],
  }
  w.oldest = tonumber(known[2]) or w.bucket
  drop_old(w)
  return w
end

local function add(w, bucket, amount)
  if w.new or bucket < w.oldest then
    redis.call('HSET', w.name, 'oldest', bucket)
    w.oldest, w.new = bucket, false
  end
  if redis.call('HINCRBY', w.name, bucket, amount) == amount then
    -- When the last of it has left, the key goes.
    redis.call('ZADD', P .. 'idle', 'GT', (bucket + w.buckets + 1) * w.step, w.name)
  end
  w.total = redis.call('HINCRBY', w.name, 'total', amount)
end

local function take_off(w, bucket, amount)
  if w.new or bucket < w.oldest then return end
  local there = tonumber(redis.call('HGET', w.name, bucket) or 0)
  local taken = math.min(there, amount)
  if taken > 0 then
    redis.call('HINCRBY', w.name, bucket, -taken)
    w.total = redis.call('HINCRBY', w.name, 'total', -taken)
  end
end

local function wait_for(w, missing, now)
  for from = w.oldest, w.bucket, 64 do
    local names = {}
    for number = from, math.min(from + 63, w.bucket) do names[#names + 1] = number end
    for i, amount in ipairs(redis.call('HMGET', w.name, unpack(names))) do
      missing = missing - (tonumber(amount) or 0)
      if missing <= 0 then return (from + i - 1 + w.buckets + 1) * w.step - now end
    end
  end
  return (w.bucket + w.buckets + 1) * w.step - now
end

-- How long until there is room: 0 now, -1 never. And the window, where there is one.
local function room(key, span, most, amount, now)
  if amount > most then return -1 end
  if span == 0 then
    local held = tonumber(redis.call('GET', held_name(key)) or 0)
    return held + amount > most and HELD_RETRY_MS or 0
  end
  local w = window(key, span, now)
  local missing = w.total + amount - most
  return missing > 0 and wait_for(w, missing, now) or 0, w
end

local function hold(ledger, number, holds, now)
  local worst, refused, windows = 0, nil, {}
  for i, h in ipairs(holds) do
    local wait, w = room(h[1], h[2], h[3], h[4], now)
    windows[i] = w
    if wait == -1 then return {i, -1} end
    if wait > worst then worst, refused = wait, {i, wait} end
  end
  if refused then return refused end
  local entry = {}
  for i, h in ipairs(holds) do
    local w = windows[i]
    if w then add(w, w.bucket, h[4]) else redis.call('INCRBY', held_name(h[1]), h[4]) end
    entry[i] = {h[1], h[2], h[4], w and w.bucket or 0}
  end
  redis.call('HSET', ledger, number, cmsgpack.pack(entry))
  return 0
end

local function give_back_held(key, amount)
  local left = tonumber(redis.call('GET', held_name(key)) or 0) - amount
  if left > 0 then redis.call('SET', held_name(key), left)
  else redis.call('DEL', held_name(key)) end
end

-- `used` in the order of the entry; without it nothing was.
local function give_back(entry, used, now)
  for i, e in ipairs(entry) do
    local key, span, amount, bucket = e[1], e[2], e[3], e[4]
    local really = used and used[i][3] or 0
    if span == 0 then
      give_back_held(key, amount)
    elseif really > amount then
      local w = window(key, span, now)
      add(w, w.bucket, really - amount)
    elseif really < amount then
      take_off(window(key, span, now), bucket, amount - really)
    end
  end
end

local function charge(key, span, amount, age, now)
  local w = window(key, span, now)
  local bucket = math.floor((now - age) / w.step)
  if bucket >= w.bucket - w.buckets then add(w, bucket, amount) end
  return bucket
end

local function settle(ledger, number, used, now)
  local packed = redis.call('HGET', ledger, number)
  if packed then
    redis.call('HDEL', ledger, number)
    return give_back(cmsgpack.unpack(packed), used, now)
  end
  -- Given back already, or forgotten with everything else: what was used counts from now on.
  for _, u in ipairs(used) do
    if u[2] > 0 and u[3] > 0 then charge(u[1], u[2], u[3], 0, now) end
  end
end

-- What a worker has open although it is not known here: it was granted elsewhere, or forgotten.
local function adopt(ledger, number, holds, now)
  local entry = {}
  for i, h in ipairs(holds) do
    local key, span, amount, age = h[1], h[2], h[3], h[4]
    local bucket = 0
    if span == 0 then redis.call('INCRBY', held_name(key), amount)
    else bucket = charge(key, span, amount, age, now) end
    entry[i] = {key, span, amount, bucket}
  end
  redis.call('HSET', ledger, number, cmsgpack.pack(entry))
end

local function bury(worker, now)
  local ledger = ledger_of(worker)
  local fields = redis.call('HGETALL', ledger)
  for i = 1, #fields, 2 do
    if tonumber(fields[i]) then give_back(cmsgpack.unpack(fields[i + 1]), nil, now) end
  end
  redis.call('DEL', ledger)
  redis.call('ZREM', P .. 'workers', worker)
end

local function facts(now)
  local all, fields = {}, redis.call('HGETALL', P .. 'facts')
  for i = 1, #fields, 2 do
    local fact = cmsgpack.unpack(fields[i + 1])
    if fact[2] > now then all[#all + 1] = {fields[i], fact[1], fact[2] - now}
    else redis.call('HDEL', P .. 'facts', fields[i]) end
  end
  return all
end

local operations = {}

-- given: {batch, {{number, {{key, span, most, amount}, …}}, …}}
-- answer: for each 0, or {which, ms}; false when the batch comes too late to be wanted.
function operations.hold(worker, given, now)
  local ledger = ledger_of(worker)
  local fence = redis.call('HGET', ledger, 'fence')
  if fence and given[1] <= tonumber(fence) then return false end
  local answers = {}
  for i, asked in ipairs(given[2]) do answers[i] = hold(ledger, asked[1], asked[2], now) end
  return answers
end

-- given: {sequence, settled {{number, {{key, span, used}, …}}, …}, used {{key, span, amount, age}},
-- facts {{key, value, ms}, …}}. The same sequence a second time changes nothing.
function operations.write(worker, given, now)
  local ledger = ledger_of(worker)
  if given[1] <= tonumber(redis.call('HGET', ledger, 'sequence') or 0) then return 0 end
  redis.call('HSET', ledger, 'sequence', given[1])
  for _, s in ipairs(given[2]) do settle(ledger, s[1], s[2], now) end
  for _, u in ipairs(given[3]) do charge(u[1], u[2], u[3], u[4], now) end
  for _, f in ipairs(given[4]) do
    redis.call('HSET', P .. 'facts', f[1], cmsgpack.pack({f[2], now + f[3]}))
  end
  return 0
end

-- answer: {workers, facts}
function operations.beat(worker, given, now)
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', now)) do
    bury(dead, now)
  end
  for _, name in ipairs(
    redis.call('ZRANGEBYSCORE', P .. 'idle', '-inf', now, 'LIMIT', 0, SWEEP)
  ) do
    redis.call('DEL', name)
    redis.call('ZREM', P .. 'idle', name)
  end
  return {redis.call('ZCARD', P .. 'workers'), facts(now)}
end

-- given: {join, fence, open {{number, {{key, span, amount, age}, …}}, …}, sequence, the same for
-- what was settled with that sequence}. All that the worker has open is open here from now on.
-- With a fence, what else is in its ledger is given back: nobody got the answer.
function operations.join(worker, given, now)
  local ledger, open = ledger_of(worker), {}
  -- One that was given up, and comes after the next, knows nothing of what happened since.
  if given[1] <= tonumber(redis.call('HGET', ledger, 'join') or 0) then return 0 end
  redis.call('HSET', ledger, 'join', given[1])
  local function take_over(grants)
    for _, o in ipairs(grants) do
      open[tostring(o[1])] = true
      if redis.call('HEXISTS', ledger, o[1]) == 0 then adopt(ledger, o[1], o[2], now) end
    end
  end
  take_over(given[3])
  if given[4] > tonumber(redis.call('HGET', ledger, 'sequence') or 0) then take_over(given[5]) end
  if given[2] >= 0 then
    redis.call('HSET', ledger, 'fence', given[2])
    for _, field in ipairs(redis.call('HKEYS', ledger)) do
      if tonumber(field) and not open[field] then
        give_back(cmsgpack.unpack(redis.call('HGET', ledger, field)), nil, now)
        redis.call('HDEL', ledger, field)
      end
    end
  end
  return redis.call('ZCARD', P .. 'workers')
end

-- All is settled, or else is given back now.
function operations.leave(worker, given, now)
  bury(worker, now)
  return 0
end

-- given: {{key, span}, …}
function operations.used(worker, given, now)
  local answers = {}
  for i, asked in ipairs(given) do
    if asked[2] == 0 then answers[i] = tonumber(redis.call('GET', held_name(asked[1])) or 0)
    else answers[i] = window(asked[1], asked[2], now).total end
  end
  return answers
end

local asked = cmsgpack.unpack(ARGV[1])
local worker = asked[2]
local now = present(asked[3], asked[4])
local forgotten = redis.call('ZADD', P .. 'workers', now + WORKER_MS, worker)
return cmsgpack.pack({now, forgotten, operations[asked[1]](worker, asked[5], now)})
