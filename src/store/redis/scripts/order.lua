-- Orders something of all supervisors that were heard of in time, or of one of them. A pause, or its end,
-- is kept for those who come later, with the number of the order.
--     ARGV: born, who asks, the verb, more of it, lease in milliseconds, the one supervisor or ''
local from, verb, body, lease = next_argument(), next_argument(), next_argument(), next_number()
local only, told = next_argument(), {}
for _, one in ipairs(supervisors()) do
    if one.idle <= lease and (only == '' or only == one.name) then
        told[#told + 1] = one.name
    end
end
if verb == 'pause' or verb == 'resume' then
    local number = redis.call('HINCRBY', meta, 'steered', 1)
    body = string.format('%.0f', number) .. (verb == 'pause' and ':1' or ':0')
    if only == '' then
        redis.call('HSET', meta, 'paused', body)
    end
end
local id = ''
if #told > 0 then
    id = redis.call('XADD', orders, 'MAXLEN', '~', 1000, '*', 'to', table.concat(told, ' '), 'from', from,
        'verb', verb, 'body', body)
end
redis.call('HINCRBY', meta, 'changes', 1)
return { id, told, redis.call('HGET', meta, 'ring') or '0-0' }
