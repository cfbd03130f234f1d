-- Makes a dead letter an entry again, with as many attempts before it as a new one. 0 if there is no
-- such letter.
--     ARGV: born, the letter's entry
local row = redis.call('XRANGE', dead, ARGV[2], ARGV[2])[1]
if not row then
    return 0
end
local letter = row[2]
local number, attempts, history = letter[2], letter[6], letter[8]
local fields = { 'again', '1', 'forgiven', attempts }
for i = 11, #letter, 2 do
    if letter[i] ~= 'again' and letter[i] ~= 'forgiven' then
        fields[#fields + 1] = letter[i]
        fields[#fields + 1] = letter[i + 1]
    end
end
local new = redis.call('XADD', stream, '*', unpack(fields))
redis.call('HSET', past, new, history)
redis.call('HSET', numbers, new, number)
redis.call('XDEL', dead, ARGV[2])
redis.call('HINCRBY', meta, 'dead', -1)
redis.call('HINCRBY', meta, 'moved', 1)
redis.call('HINCRBY', meta, 'changes', 1)
return 1
