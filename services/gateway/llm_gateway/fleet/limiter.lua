-- The token buckets of llm_gateway.tenancy.rate_limit, shared by all gateways. It runs atomically, on Redis's clock.
--
-- KEYS[1]  prefix of all keys
-- ARGV[1]  JSON: a list of {tenant, requests per minute, tokens per minute, tokens to charge}, 0 for no limit; to settle,
--          {tenant, 0, tokens per minute, tokens to put back (negative: to take), true}
-- returns  JSON: {now, answers = {{wait for requests, wait for tokens, requests left, tokens left}, …}}, waits in
--          seconds, -1 for never; a settlement's answer is empty
--
-- rate:<kind>:<tenant>   hash   level, since, limit: as in Bucket; it expires when it would be full again

local ROUNDING = 1e-6
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function load_bucket(kind, tenant, limit)
  if limit == 0 then return nil end
  local key = KEYS[1] .. 'rate:' .. kind .. ':' .. tenant
  local level, since, old = unpack(redis.call('HMGET', key, 'level', 'since', 'limit'))
  if not level then return {key = key, level = limit, limit = limit} end
  old = tonumber(old)
  level = math.min(old, tonumber(level) + math.max(0, now - tonumber(since)) * old / 60)
  return {key = key, level = math.min(level, limit), limit = limit}
end

local function save(bucket)
  local full_in = (bucket.limit - bucket.level) * 60 / bucket.limit
  local level, since = string.format('%.17g', bucket.level), string.format('%.17g', now)
  redis.call('HSET', bucket.key, 'level', level, 'since', since, 'limit', bucket.limit)
  redis.call('EXPIRE', bucket.key, math.ceil(full_in) + 1)
end

local function wait(bucket, units)
  if not bucket or bucket.level + ROUNDING >= units then return 0 end
  if units > bucket.limit then return -1 end
  return (units - bucket.level) * 60 / bucket.limit
end

local function charge(bucket, units)
  if bucket then
    bucket.level = math.min(bucket.limit, bucket.level - units)
    save(bucket)
  end
end

local function take(tenant, rpm, tpm, tokens)
  local requests, budget = load_bucket('requests', tenant, rpm), load_bucket('tokens', tenant, tpm)
  local wait_requests, wait_tokens = wait(requests, 1), wait(budget, tokens)
  if wait_requests == 0 and wait_tokens == 0 then
    charge(requests, 1)
    charge(budget, tokens)
  end
  return {wait_requests, wait_tokens, requests and requests.level or 0, budget and budget.level or 0}
end

local answers = {}
for i, ask in ipairs(cjson.decode(ARGV[1])) do
  local tenant, rpm, tpm, tokens, settles = unpack(ask)
  if settles then
    charge(load_bucket('tokens', tenant, tpm), -tokens)
    answers[i] = {}
  else
    answers[i] = take(tenant, rpm, tpm, tokens)
  end
end
return cjson.encode({now = string.format('%.6f', now), answers = answers})
