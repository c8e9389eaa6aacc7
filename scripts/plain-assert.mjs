/**
 * Lets `assert.ok` fail with plain words. Without a message Node reads the failing expression out
 * of the file by the position in what it ran; where that is not the file's own text, as here, it
 * may search for minutes (seen on Node 20.20). The stack tells the line in any case.
 */
import assert from 'node:assert/strict'

const { ok } = assert
assert.ok = (value, message = 'not as it should be: see the line below') => ok(value, message)
