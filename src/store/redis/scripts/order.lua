-- Orders something of all supervisors that were heard of in time, or of one of them. A pause, or its end,
-- is kept for those who come later, with the number of the order. That is greater than those of all orders
-- before, also of those that are lost where Redis has come back with an older state.
--     ARGV: born, who asks, the verb, more of it, lease in milliseconds, the one supervisor or ''
local from, verb, body, lease = next_argument(), next_argument(), next_argument(), next_number()
local only, told = next_argument(), {}
for _, one in ipairs(supervisors()) do
    if one.idle <= lease and (only == '' or only == one.name) then
        told[#told + 1] = one.name
    end
end
if verb == 'pause' or verb == 'resume' then
    local time, steered = redis.call('TIME'), tonumber(redis.call('HGET', meta, 'steered') or 0) or 0
    local number = math.max(steered + 1, time[1] * 1000 + math.floor(time[2] / 1000))
    number = string.format('%.0f', number)
    redis.call('HSET', meta, 'steered', number)
    body = number .. (verb == 'pause' and ':1' or ':0')
    if only == '' then
        redis.call('HSET', meta, 'paused', body)
    end
end
local id = ''
if #told > 0 then
    id = redis.call('XADD', orders, 'MAXLEN', '~', 1000, '*', 'to', table.concat(told, ' '), 'from', from,
        'verb', verb, 'body', body, 'of', only == '' and 'all' or 'one')
end
redis.call('HINCRBY', meta, 'changes', 1)
return { id, told, redis.call('HGET', meta, 'ring') or '0-0' }
