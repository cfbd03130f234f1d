-- Finds an unfinished item by its number, with all that is known of it; and marks it, if its end is waited
-- for.
--     ARGV: born, number, its entry if the caller has found it or '', 1 if its end is waited for
local number, entry, is_awaited = next_number(), next_argument(), next_argument() == '1'
local row = seek_entry(number, entry)
local told = redis.call('HMGET', meta, 'ring', 'numbers', 'gone')
local found = {}
if row then
    found[1] = entry_with_holder(row)
    if is_awaited then
        redis.call('HSETNX', marked, row[1], '')
    end
end
return { row == false and 'unclear' or 'clear', found, told[1] or '0-0', tonumber(told[2] or 0),
    tonumber(told[3] or 0) }
