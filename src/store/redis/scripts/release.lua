-- Gives back what a supervisor holds and will not work on: others get it at once, behind all that
-- waits. What nobody is to work on any more has its end in place of that. What has too many fields to be
-- added again stays.
--     ARGV: born, consumer, entries
local consumer, released = next_argument(), 0
for i = at + 1, #ARGV do
    local id = ARGV[i]
    local held = redis.call('XPENDING', stream, group, id, id, 1, consumer)[1]
    local row = held and redis.call('XRANGE', stream, id, id)[1]
    local cause, failure = condemned(id)
    if row and cause then
        condemn(id, row[2], number_of(id, row[2]), cause, failure)
    elseif row and #row[2] <= values_max then
        local history, number = redis.call('HGET', past, id), number_of(id, row[2])
        local fields, has_mark = row[2], false
        for f = 1, #fields, 2 do
            has_mark = has_mark or fields[f] == 'again'
        end
        if not has_mark then
            fields[#fields + 1] = 'again'
            fields[#fields + 1] = '1'
        end
        local new = redis.call('XADD', stream, '*', unpack(fields))
        if history then
            redis.call('HSET', past, new, history)
            redis.call('HDEL', past, id)
        end
        -- Its number is not in the order of its place any more.
        if number ~= '' then
            redis.call('HSET', numbers, new, number)
            redis.call('HDEL', numbers, id)
        end
        if redis.call('HDEL', marked, id) > 0 then
            redis.call('HSET', marked, new, '')
        end
        redis.call('XACK', stream, group, id)
        redis.call('XDEL', stream, id)
        released = released + 1
    end
end
if released > 0 then
    -- They were added once more.
    redis.call('HINCRBY', meta, 'moved', released)
end
redis.call('HINCRBY', meta, 'changes', 1)
return { released, standing() }
