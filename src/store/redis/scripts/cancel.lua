-- Lets nobody work on an item any more. What nobody holds, or a supervisor that was not heard of for as
-- long as the lease, has its end at once. Otherwise it is marked, and the holder is told to end it.
--     ARGV: born, number, its entry if the caller has found it or '', lease in milliseconds, the cause for
--           people, the line of its history
local number, entry, lease = next_number(), next_argument(), next_number()
local cause, failure = next_argument(), next_argument()
local row = seek_entry(number, entry)
local ring_before = redis.call('HGET', meta, 'ring') or '0-0'
if not row then
    return { row == false and 'unclear' or 'none', ring_before, '', 0 }
end
local one = entry_with_holder(row)
local holder, idle = one[6], one[7]
if holder == '' or idle > lease then
    condemn(row[1], row[2], text_of(number), cause, failure)
    return { 'ended', ring_before, '', 0 }
end
if not condemned(row[1]) then
    redis.call('HSET', marked, row[1], cause .. '\n' .. failure)
    redis.call('HINCRBY', meta, 'changes', 1)
    redis.call('XADD', orders, 'MAXLEN', '~', 1000, '*', 'to', holder, 'from', '', 'verb', 'cancel',
        'body', text_of(number))
end
return { 'ordered', ring_before, holder, idle }
