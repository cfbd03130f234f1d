-- Something was taken: wakes those who wait for room, if there is some now.
--     ARGV: born
local crowded = redis.call('HGET', meta, 'crowded')
if crowded then
    local untaken = redis.call('XLEN', stream) - redis.call('XPENDING', stream, group)[1]
    if untaken < tonumber(crowded) then
        redis.call('HDEL', meta, 'crowded')
        ring()
    end
end
return standing()
