-- wrk: POSTs that are all different until the deadline, then nothing. It says `answered` when every POST has its answer.
-- Arguments: the file of the request with @SEQ@ for its number, the first number, on CLOCK_MONOTONIC the seconds from
-- which on, and until which, POSTs count, and how many connections there are.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long sec; long nsec; } moment_t;
  int clock_gettime(int clock, moment_t *moment);
]]
local CLOCK_MONOTONIC, DIGITS, FOR_EVER = 1, "%08d", 3600 * 1000
local moment = ffi.new("moment_t")
local threads = {}

local function now()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, moment)
  return tonumber(moment.sec) + tonumber(moment.nsec) / 1e9
end

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local text = file:read("*a")
  file:close()
  pieces, begin = {}, 1
  while true do
    local from, to = text:find("@SEQ@", begin, true)
    if not from then break end
    table.insert(pieces, text:sub(begin, from - 1))
    begin = to + 1
  end
  rest = text:sub(begin)
  number, measured, from, till = tonumber(args[2]), 0, tonumber(args[3]), tonumber(args[4])
  first, waiting = number, tonumber(args[5])
end

function delay()
  if now() < till then return 0 end
  waiting = waiting - 1
  if waiting == 0 then
    io.write("answered\n")
    io.flush()
  end
  return FOR_EVER
end

function request()
  local name = DIGITS:format(number)
  if asked then
    local time = now()
    if time >= from and time < till then measured = measured + 1 end
    number = number + 1
  end
  asked = true -- wrk asks once before it begins, to see what it gets; it does not send that
  return table.concat(pieces, name) .. name .. rest
end

function done(summary, latency, requests)
  local thread, errors = threads[1], summary.errors
  io.write(("{\"sent\": %d, \"measured\": %d, \"refused\": %d, \"broken\": %d}\n"):format(
    thread:get("number") - thread:get("first"), thread:get("measured"), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
