-- Changes the lease, if no other supervisor is at work by the old one or the new one. How many are.
--     ARGV: born, consumer, lease in milliseconds
local consumer, lease = next_argument(), next_number()
local longest = math.max(lease, tonumber(redis.call('HGET', meta, 'lease') or 0))
local others = others_heard_of(supervisors(), consumer, longest)
if others == 0 then
    redis.call('HSET', meta, 'lease', lease)
end
return others
