-- One atomic step of the fleet's order: take a replica's changes and make every grant that they allow.
--
-- KEYS[1]  prefix of all keys, with a hash tag so that they share one slot of a cluster
-- ARGV[1]  JSON: a call of `llm_gateway.fleet.messages.Caller`
-- returns  JSON: {now, replicas, granted = {{engine, bid}, …}}, or {unknown = true} if the session is not the
--          replica's current one: then nothing has changed, and the replica has to join
--
-- alive         zset   replica -> time of its last call; it is dropped when its lease has expired
-- heads         zset   replica -> key of its best bid; without replicas that have no bid or do not collect
-- owed          zset   replica -> time since when grants wait for it to collect
-- used          hash   engine  -> permits over all replicas; always the sum of all held:*
-- fleet         hash   born: time when the fleet (re)started; size: number of replicas before that
-- session:<r>   string number of the replica's current session
-- bids:<r>      zset   bid -> key
-- limits:<r>    hash   engine -> limit of the fleet's permits, for engines that the replica can use now
-- held:<r>      hash   engine -> permits that it holds, uncollected grants included
-- owed:<r>      list   uncollected grants: engine, key, bid, …

local prefix, call = KEYS[1], cjson.decode(ARGV[1])
local me = call.replica
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6

local function key(name, replica)
  return replica and prefix .. name .. ':' .. replica or prefix .. name
end

local function pairs_of(flat)  -- {a, 1, b, 2} -> {{a, 1}, {b, 2}}
  local found = {}
  for i = 1, #flat, 2 do found[#found + 1] = {flat[i], tonumber(flat[i + 1])} end
  return found
end

local function hold(replica, engine, change)
  redis.call('HINCRBY', key('used'), engine, change)
  redis.call('HINCRBY', key('held', replica), engine, change)
end

local function update_head(replica)
  local best = redis.call('ZRANGE', key('bids', replica), 0, 0, 'WITHSCORES')
  if best[1] then
    redis.call('ZADD', key('heads'), best[2], replica)
  else
    redis.call('ZREM', key('heads'), replica)
  end
  return tonumber(best[2])
end

-- Releases everything that a replica held.
local function forget(replica)
  for _, held in ipairs(pairs_of(redis.call('HGETALL', key('held', replica)))) do
    if held[2] ~= 0 then redis.call('HINCRBY', key('used'), held[1], -held[2]) end  -- Lua writes -0, no integer to Redis
  end
  for _, name in ipairs({'session', 'bids', 'limits', 'held', 'owed'}) do redis.call('DEL', key(name, replica)) end
  for _, name in ipairs({'alive', 'heads', 'owed'}) do redis.call('ZREM', key(name), replica) end
end

-- Starts the fleet anew if no replica was heard for a lease. Permits of replicas that have not joined yet are not counted.
local function join()
  local newest = redis.call('ZREVRANGE', key('alive'), 0, 0, 'WITHSCORES')
  local size = call.replicas
  if newest[1] and tonumber(newest[2]) > now - call.lease then
    size = math.max(size, tonumber(redis.call('HGET', key('fleet'), 'size')) or 1)
  else
    redis.call('HSET', key('fleet'), 'born', clock[1] + clock[2] / 1e6)
  end
  redis.call('HSET', key('fleet'), 'size', size)
  forget(me)
  redis.call('SET', key('session', me), call.session)
end

local function note_news()
  redis.call('ZADD', key('alive'), now, me)
  if call.limits then
    redis.call('DEL', key('limits', me))
    for engine, limit in pairs(call.limits) do redis.call('HSET', key('limits', me), engine, limit) end
  end
  for engine, change in pairs(call.held) do hold(me, engine, change) end
  for _, bid in ipairs(call.drop) do redis.call('ZREM', key('bids', me), bid) end
  for _, bid in ipairs(call.add) do redis.call('ZADD', key('bids', me), bid[2], bid[1]) end
  update_head(me)
end

-- Returns the grants that the calls of other replicas made to this one.
local function collect()
  local granted = {}
  if redis.call('ZREM', key('owed'), me) == 1 then
    local owed = redis.call('LRANGE', key('owed', me), 0, -1)
    for i = 1, #owed, 3 do granted[#granted + 1] = {owed[i], owed[i + 2]} end
    redis.call('DEL', key('owed', me))
  end
  return granted
end

local function forget_the_dead()
  for _, replica in ipairs(redis.call('ZRANGEBYSCORE', key('alive'), '-inf', now - call.lease)) do forget(replica) end
end

-- Takes back grants that a replica has not collected in time: it does not know them. It is passed over until it calls.
local function pass_over_the_slow()
  for _, replica in ipairs(redis.call('ZRANGEBYSCORE', key('owed'), '-inf', now - call.patience)) do
    local owed = redis.call('LRANGE', key('owed', replica), 0, -1)
    for i = 1, #owed, 3 do
      hold(replica, owed[i], -1)
      redis.call('ZADD', key('bids', replica), owed[i + 1], owed[i + 2])
    end
    redis.call('DEL', key('owed', replica))
    redis.call('ZREM', key('owed'), replica)
    redis.call('ZREM', key('heads'), replica)
  end
end

-- Returns the shares of the limits to which replicas keep while a new fleet gathers; {} afterwards.
local function gathering()
  local born, size = unpack(redis.call('HMGET', key('fleet'), 'born', 'size'))
  if now < tonumber(born) + call.lease then return {size = tonumber(size)} end
  return {}
end

local function grant_all(granted)
  local heads = pairs_of(redis.call('ZRANGE', key('heads'), 0, -1, 'WITHSCORES'))
  if #heads == 0 then return end
  local share, used, limits, woken = gathering(), {}, {}, {}
  for _, one in ipairs(pairs_of(redis.call('HGETALL', key('used')))) do used[one[1]] = one[2] end

  local function limits_of(replica)
    limits[replica] = limits[replica] or pairs_of(redis.call('HGETALL', key('limits', replica)))
    return limits[replica]
  end

  local function has_room(replica, engine, limit)
    if (used[engine] or 0) >= limit then return false end
    if not share.size then return true end
    local own = tonumber(redis.call('HGET', key('held', replica), engine)) or 0
    return own < math.max(1, math.floor(limit / share.size))
  end

  -- Choose the engine with the smallest part of its limit taken, equals in turn, after the bid's preferences.
  local function choose(replica)
    local wish = cjson.decode(redis.call('ZRANGE', key('bids', replica), 0, 0)[1])
    local engines, chosen, least = limits_of(replica), nil, math.huge
    for i = 1, #engines do
      local engine, limit = unpack(engines[(i + call.turn) % #engines + 1])
      if has_room(replica, engine, limit) then
        local load = (used[engine] or 0) / limit
        if engine == wish[2] then load = load - 1 end
        for j = 3, #wish do if engine == wish[j] then load = load + 2 end end
        if load < least then chosen, least = engine, load end
      end
    end
    return chosen
  end

  local function give(replica, engine)
    local bid = redis.call('ZPOPMIN', key('bids', replica))
    used[engine] = (used[engine] or 0) + 1
    hold(replica, engine, 1)
    if replica == me then
      granted[#granted + 1] = {engine, bid[1]}
    else
      redis.call('RPUSH', key('owed', replica), engine, bid[2], bid[1])
      if redis.call('ZADD', key('owed'), 'NX', now, replica) == 1 then woken[#woken + 1] = replica end
    end
  end

  while true do
    local best
    for _, head in ipairs(heads) do
      if head[2] and (not best or head[2] < best[2]) then best = head end
    end
    if not best then break end
    local engine = choose(best[1])
    if engine then
      give(best[1], engine)
      best[2] = update_head(best[1])
    else
      best[2] = nil  -- no room, now or later: permits only grow in this loop
    end
  end
  for _, replica in ipairs(woken) do redis.call('PUBLISH', key('wake', replica), '') end
end

if call.leave then
  if redis.call('GET', key('session', me)) == tostring(call.session) then forget(me) end
  grant_all({})
  return '{}'
end
local session = tonumber(redis.call('GET', key('session', me))) or 0
if call.join then
  if call.session <= session then return '{"unknown":true}' end
  join()
elseif call.session ~= session then
  return '{"unknown":true}'
end
note_news()
local granted = collect()
forget_the_dead()
pass_over_the_slow()
grant_all(granted)
local replicas = redis.call('ZCARD', key('alive'))
return cjson.encode({now = string.format('%.6f', now), replicas = replicas, granted = granted})
