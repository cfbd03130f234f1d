-- Deletes a dead letter, and keeps the number of its item, which was not done. 0 if there is no such
-- letter.
--     ARGV: born, the letter's entry
local row = redis.call('XRANGE', dead, ARGV[2], ARGV[2])[1]
if not row then
    return 0
end
redis.call('XDEL', dead, ARGV[2])
redis.call('HSET', dropped, row[2][2], '')
return 1
