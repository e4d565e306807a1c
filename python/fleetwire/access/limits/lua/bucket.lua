-- Takes a cost from every bucket named, or from none. A bucket is the time at which it is full again (GCRA); the same
-- arithmetic as rust_core/src/bucket.rs, exact because no number passes 2^53.
--
-- KEYS[i]  string: microseconds since 1970 by this server's clock; expires when the bucket is full
-- ARGV[1]  1: take in any case, for what was let through already; 0: only if all of it is there
-- ARGV[2]  cost in units
-- ARGV[3i], ARGV[3i+1], ARGV[3i+2]  of KEYS[i]: quota, period in microseconds, burst
--
-- Returns {index of the bucket that waits longest from 0, or -1 where it was taken; microseconds to wait;
--          then of each bucket: units left, microseconds until it is full}

local force = ARGV[1] == "1"
local cost = tonumber(ARGV[2])
local clock = redis.call("TIME")
local now = clock[1] * 1000000 + clock[2]

local buckets = {}
local refused_by, wait = -1, 0
for i, key in ipairs(KEYS) do
  local quota, period, burst = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local span, depth = math.ceil(cost * period / quota), math.ceil(burst * period / quota)
  local full_at = math.max(tonumber(redis.call("GET", key) or 0), now)
  local short = full_at - now + math.min(span, depth) - depth
  if short > wait and not force then
    refused_by, wait = i - 1, short
  end
  buckets[i] = {key = key, full_at = full_at, span = span, depth = depth, quota = quota, period = period, burst = burst}
end

local answer = {refused_by, wait}
for _, bucket in ipairs(buckets) do
  if refused_by == -1 then
    bucket.full_at = bucket.full_at + bucket.span
    local life_millis = math.ceil((bucket.full_at - now) / 1000)
    redis.call("SET", bucket.key, string.format("%.0f", bucket.full_at), "PX", string.format("%.0f", life_millis))
  end
  local reset = bucket.full_at - now
  local left = math.floor(math.max(bucket.depth - reset, 0) * bucket.quota / bucket.period)
  answer[#answer + 1] = math.min(left, bucket.burst)
  answer[#answer + 1] = reset
end
return answer
