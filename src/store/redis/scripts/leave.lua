-- A supervisor is gone. One that holds something stays, for those who take that over.
--     ARGV: born, consumer
local consumer = next_argument()
if #redis.call('XPENDING', stream, group, '-', '+', 1, consumer) == 0 then
    return redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
end
return 0
