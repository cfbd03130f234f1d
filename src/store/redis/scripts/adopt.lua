-- What a supervisor must know besides of entries that it holds: their fields, their numbers and
-- their failed attempts. What it does not hold is left out.
--     ARGV: born, consumer, of each: entry, and if it needs a number of its own, which one it cannot
--           be, or 0; '' if it needs none
local consumer, known = next_argument(), {}
while at < #ARGV do
    local id, unwanted = next_argument(), next_argument()
    local held = redis.call('XPENDING', stream, group, id, id, 1, consumer)[1]
    local row = held and redis.call('XRANGE', stream, id, id)[1]
    if row then
        local number = redis.call('HGET', numbers, id)
        if unwanted ~= '' and (not number or number == unwanted) then
            number = tostring(redis.call('HINCRBY', meta, 'numbers', 1))
            redis.call('HSET', numbers, id, number)
        end
        known[#known + 1] = entry_with_past(id, row[2], held[4])
    end
end
return known
