-- A supervisor is gone, and those who wait for that are woken. One that holds something stays, for those
-- who take that over.
--     ARGV: born, consumer
local consumer = next_argument()
if #redis.call('XPENDING', stream, group, '-', '+', 1, consumer) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
    if redis.call('EXISTS', orders) == 1 then
        ring()
    end
end
return 0
